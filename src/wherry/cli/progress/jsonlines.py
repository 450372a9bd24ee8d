# SPDX-License-Identifier: Apache-2.0
"""JSON lines: one object for each event, for programs that watch a build.

The field names are an interface, written down in `docs/reference/events.md`: fields are added,
never renamed or removed.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from wherry.cli.progress.output import LineStream
from wherry.events import Event, Message, StepEnded, StepOutput, StepProgress, StepStarted

# The value of the field `event`.
NAMES: dict[type[Event], str] = {
    StepStarted: "step_started",
    StepProgress: "step_progress",
    StepOutput: "step_output",
    StepEnded: "step_ended",
    Message: "message",
}


class JsonLines:
    """The renderer of `--progress=json`."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = LineStream(stream)
        self._lock = threading.Lock()
        self._clock = clock
        self._began = clock()

    def __call__(self, event: Event) -> None:
        """Write one line."""
        with self._lock:
            fields: dict[str, object] = {
                "event": NAMES[type(event)],
                "time": round(self._clock() - self._began, 3),
                **event._asdict(),
            }
            if isinstance(event, StepEnded):
                fields["seconds"] = round(event.seconds, 3)
            # ASCII: half a surrogate from a file name must not break the line or its reader.
            self._out.write(json.dumps(fields, separators=(",", ":")))

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing was held back."""
