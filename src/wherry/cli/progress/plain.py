# SPDX-License-Identifier: Apache-2.0
"""Plain lines: a log that reads well in CI, with no cursor movement and no colours.

Steps are numbered in the order they start; every line says its step, since steps run side by side.
Progress within a step is told every few seconds only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TextIO, assert_never

from wherry.cli.progress.output import LineStream, printable
from wherry.cli.progress.units import format_ending, format_progress
from wherry.events import (
    Event,
    Level,
    Message,
    StepEnded,
    StepOutput,
    StepProgress,
    StepStarted,
)

PROGRESS_SECONDS = 5.0


@dataclass(slots=True)
class _Step:
    label: str
    number: int
    told_at: float


class PlainLines:
    """The renderer of `--progress=plain`."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = LineStream(stream)
        self._clock = clock
        self._lock = threading.Lock()
        self._steps: dict[str, _Step] = {}
        self._count = 0

    def __call__(self, event: Event) -> None:
        """Write the event's line, if it has one."""
        # The lock spans the write: lines appear in the order in which events were taken.
        with self._lock:
            line = self._line(event)
            if line is not None:
                self._out.write(line)

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

    def _line(self, event: Event) -> str | None:
        match event:
            case StepStarted():
                return f"{self._start(event.id, event.name).label} ..."
            case StepProgress():
                return self._progress(event)
            case StepOutput():
                return f"#{self._step(event.id).number} | {printable(event.line)}"
            case StepEnded():
                step = self._step(event.id)
                self._steps.pop(event.id, None)
                ending = format_ending(event.outcome, event.seconds, printable(event.detail))
                return f"{step.label} ... {ending}"
            case Message():
                mark = "warning: " if event.level is Level.WARNING else ""
                return mark + printable(event.text)
            case _:
                assert_never(event)

    def _progress(self, event: StepProgress) -> str | None:
        step, now = self._step(event.id), self._clock()
        if now - step.told_at < PROGRESS_SECONDS:
            return None
        step.told_at = now
        return f"{step.label} ... {format_progress(event)}"

    def _start(self, step_id: str, name: str) -> _Step:
        self._count += 1
        step = _Step(f"#{self._count} {printable(name)}", self._count, self._clock())
        self._steps[step_id] = step
        return step

    def _step(self, step_id: str) -> _Step:
        # A step that never said it started is numbered now: a sink does not raise.
        return self._steps.get(step_id) or self._start(step_id, step_id)
