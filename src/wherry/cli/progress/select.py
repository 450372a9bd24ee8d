# SPDX-License-Identifier: Apache-2.0
"""Which renderer a build gets: from `--progress`, the stream and the environment.

Every renderer is a sink of events and a context manager around the build. Each lives in a module
of its own that is imported only when it is chosen: a build that changes nothing pays for none.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Literal, Protocol, Self, TextIO

from wherry.events import Event

Mode = Literal["auto", "plain", "tty", "json", "quiet"]


class Renderer(Protocol):
    """Takes events from any thread between `__enter__` and `__exit__`; never raises.

    A stream that fails (closed, pipe broken) silences the renderer; the build goes on.
    """

    def __call__(self, event: Event) -> None:
        """Take one event."""

    def __enter__(self) -> Self:
        """Begin; nothing is written before the first event."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what is still held back and leave the terminal as it was."""


def make_sink(mode: Mode, stream: TextIO, env: Mapping[str, str]) -> Renderer:
    """The renderer for `mode` on `stream`, which is never closed.

    `auto` is the live view on a terminal and plain lines elsewhere. A terminal that cannot move
    its cursor (`TERM=dumb`) or is not UTF-8, or a stream that is no terminal, gets plain lines
    even for `tty`: how a build looks is no reason to fail it. `NO_COLOR` (any value but the empty
    one) leaves the live view without colours.
    """
    # Each import is late because the chosen renderer alone is paid for.
    if mode == "json":
        from wherry.cli.progress.jsonlines import JsonLines  # noqa: PLC0415 - see above

        return JsonLines(stream)
    if mode == "quiet":
        from wherry.cli.progress.quiet import Quiet  # noqa: PLC0415 - see above

        return Quiet()
    if mode in ("auto", "tty") and _moves_cursor(stream, env) and _is_unicode(stream):
        from wherry.cli.progress.live import LiveView  # noqa: PLC0415 - see above

        return LiveView(stream, color=use_color(stream, env))
    from wherry.cli.progress.plain import PlainLines  # noqa: PLC0415 - see above

    return PlainLines(stream)


def use_color(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Whether ANSI colours may be written to `stream`."""
    return _moves_cursor(stream, env) and not env.get("NO_COLOR")


def _moves_cursor(stream: TextIO, env: Mapping[str, str]) -> bool:
    try:
        return stream.isatty() and env.get("TERM") != "dumb"
    except ValueError:  # the stream is closed
        return False


def _is_unicode(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().startswith("utf")
