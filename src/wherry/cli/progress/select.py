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

# What says where traces go.
_TRACES = frozenset({"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"})


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

    def leave(self) -> None:
        """Leave the terminal to others, for the rest of the build or until `come_back`."""

    def come_back(self) -> None:
        """Take the terminal again: what comes now is told as before `leave`."""


def make_sink(mode: Mode, stream: TextIO, env: Mapping[str, str], verb: str = "build") -> Renderer:
    """The renderer for `mode` on `stream`, which is never closed.

    `auto` is the live view on a terminal and plain lines elsewhere. A terminal that cannot move
    its cursor (`TERM=dumb`) or is not UTF-8, or a stream that is no terminal, gets plain lines
    even for `tty`: how a build looks is no reason to fail it. With `CI` set (to anything but
    `false`) a terminal is taken for a log, unless `tty` asks for the view. `NO_COLOR` (any value
    but the empty one) leaves the live view without colours.

    Where the environment asks for OpenTelemetry traces, what `verb` does becomes one; nothing does
    where it is empty.
    """
    renderer = _renderer(mode, stream, env)
    if verb and _TRACES.intersection(env):
        from wherry.cli.tracing import Traced, is_traced  # noqa: PLC0415 - seldom asked for

        if is_traced(env):
            return Traced(renderer, env, verb)
    return renderer


def _renderer(mode: Mode, stream: TextIO, env: Mapping[str, str]) -> Renderer:
    # Each import is late because the chosen renderer alone is paid for.
    if mode == "json":
        from wherry.cli.progress.jsonlines import JsonLines  # noqa: PLC0415 - see above

        return JsonLines(stream)
    if mode == "quiet":
        from wherry.cli.progress.quiet import Quiet  # noqa: PLC0415 - see above

        return Quiet()
    if (mode == "tty" or (mode == "auto" and not _is_log(env))) and _draws(stream, env):
        from wherry.cli.progress.live import LiveView  # noqa: PLC0415 - see above

        return LiveView(stream, color=use_color(stream, env))
    from wherry.cli.progress.plain import PlainLines  # noqa: PLC0415 - see above

    return PlainLines(stream)


def use_color(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Whether ANSI colours may be written to `stream`."""
    return _moves_cursor(stream, env) and not env.get("NO_COLOR")


def picture_width(stream: TextIO, env: Mapping[str, str]) -> int:
    """How many columns pictures such as bars may take on `stream`; 0 where it is to get none."""
    if _is_log(env) or not _draws(stream, env):
        return 0
    from wherry.cli.progress.terminal import terminal_size  # noqa: PLC0415 - terminals only

    return terminal_size(stream)[0]


def _moves_cursor(stream: TextIO, env: Mapping[str, str]) -> bool:
    try:
        return stream.isatty() and env.get("TERM") != "dumb"
    except ValueError:  # the stream is closed
        return False


def _draws(stream: TextIO, env: Mapping[str, str]) -> bool:
    return _moves_cursor(stream, env) and (stream.encoding or "").lower().startswith("utf")


def _is_log(env: Mapping[str, str]) -> bool:
    # Some CI gives its jobs a terminal, and keeps what is drawn there as a log.
    return env.get("CI", "").lower() not in ("", "false", "0")
