# SPDX-License-Identifier: Apache-2.0
"""JSON lines: one object for each event, for programs that watch a build.

The field names are an interface, written down in `docs/progress.md`: fields and events are added,
never renamed or removed, as long as `version` stays the same.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Final, Self, TextIO

from wherry.cli.progress.output import LineStream
from wherry.errors import Interrupted, SeveralErrors, WherryError, code_of
from wherry.events import (
    Event,
    LaneEnded,
    Message,
    StepEnded,
    StepOutput,
    StepProgress,
    StepStarted,
)

VERSION: Final = 1
# The value of the field `event`.
NAMES: dict[type[Event], str] = {
    StepStarted: "step_started",
    StepProgress: "step_progress",
    StepOutput: "step_output",
    StepEnded: "step_ended",
    LaneEnded: "lane_ended",
    Message: "message",
}
# What this renderer tells by itself: the verb failed.
ERROR: Final = "error"


class JsonLines:
    """The renderer of `--progress=json`."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = LineStream(stream)
        self._lock = threading.Lock()
        self._clock = clock
        self._began = clock()

    def __call__(self, event: Event) -> None:
        """Write one line."""
        fields = event._asdict()
        if isinstance(event, StepEnded | LaneEnded):
            fields["seconds"] = round(event.seconds, 3)
        self._write(NAMES[type(event)], fields)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Tell what ended the verb, where that was an error."""
        if error is None:
            return
        for names, item in _reasons(error):
            self._write(ERROR, {**_error_fields(item), "images": names})

    def leave(self) -> None:
        """Nothing is drawn."""

    def come_back(self) -> None:
        """Nothing was left."""

    def _write(self, name: str, fields: dict[str, object]) -> None:
        with self._lock:
            elapsed = round(self._clock() - self._began, 3)
            # ASCII: half a surrogate from a file name must not break the line or its reader.
            line = {"version": VERSION, "event": name, "time": elapsed, **fields}
            self._out.write(json.dumps(line, separators=(",", ":")))


def _reasons(error: BaseException) -> Iterator[tuple[Sequence[str], BaseException]]:
    """What failed, each reason once, with the images of several that it is the end of."""
    from wherry.api.request import ImagesFailed  # noqa: PLC0415 - only where something failed

    if isinstance(error, ImagesFailed):
        from wherry.cli.failures import reasons_of  # noqa: PLC0415 - as above

        yield from reasons_of(error.failures)
    elif isinstance(error, SeveralErrors):
        for item in error.errors:
            yield from _reasons(item)
    else:
        yield (), error


def _error_fields(error: BaseException) -> dict[str, object]:
    from wherry.process.cancel import Cancelled  # noqa: PLC0415 - only where something failed

    if isinstance(error, Cancelled | Interrupted | KeyboardInterrupt):
        code = error.code if isinstance(error, Interrupted) else 130
        return {"code": code, "what": "interrupted", "where": "", "why": "", "hint": ""}
    if isinstance(error, WherryError):
        parts = {name: getattr(error, name) for name in ("what", "where", "why", "hint")}
        return {"code": code_of(error), **parts}
    return {
        "code": code_of(error),
        "what": f"{type(error).__name__}: {error}",
        "where": "",
        "why": "a fault in wherry",
        "hint": "",
    }
