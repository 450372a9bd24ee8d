# SPDX-License-Identifier: Apache-2.0
"""Plain lines: a log that reads well in CI, with no cursor movement and no colours.

Steps are numbered in the order they start, and every line says its step, since steps run side by
side. What several steps write at once is held for a second at most, so that the lines of one stand
together below its name; a step that ends within that second is told by one line. Lines are never
cut. How long a step has run is told where that says something: with its progress, every few
seconds, and where it speaks after a silence.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TextIO, assert_never

from wherry.cli.progress.output import LineStream, printable
from wherry.cli.progress.units import format_ending, format_progress, format_seconds
from wherry.events import (
    Event,
    LaneEnded,
    Level,
    Message,
    Outcome,
    StepEnded,
    StepOutput,
    StepProgress,
    StepStarted,
)

PROGRESS_SECONDS = 5.0
# A step that was silent for longer tells with its next line how long it has run.
SILENT_SECONDS = 10.0
# While one step speaks, the lines of others wait no longer than this.
HOLD_SECONDS = 1.0


@dataclass(slots=True)
class _Step:
    label: str
    number: int
    began: float
    told_at: float
    spoke_at: float
    # Whether a line has said that it began.
    is_known: bool = False
    held: list[str] = field(default_factory=list)


class PlainLines:
    """The renderer of `--progress=plain`."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = LineStream(stream)
        self._clock = clock
        self._lock = threading.Lock()
        self._steps: dict[str, _Step] = {}
        self._count = 0
        # The number of the step that the last line belongs to, 0 for none; when that was written.
        self._speaker, self._spoken_at = 0, 0.0
        self._timer: threading.Timer | None = None

    def __call__(self, event: Event) -> None:
        """Write the event's lines, if it has any."""
        # The lock spans the write: lines appear in the order in which events were taken.
        with self._lock:
            self._out.write(*self._lines(event))

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what is still held back."""
        self.leave()

    def leave(self) -> None:
        """As at the end; what comes after it is told as before."""
        with self._lock:
            self._out.write(*self._held())
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def come_back(self) -> None:
        """Nothing was left."""

    def _lines(self, event: Event) -> tuple[str, ...]:
        match event:
            case StepStarted():
                name = f"{event.lane}: {event.name}" if event.lane else event.name
                self._start(event.id, name)
                self._release_later()
                return ()
            case StepProgress():
                return self._progress(event)
            case StepOutput():
                return self._output(event)
            case StepEnded():
                step = self._step(event.id)
                lines = self._spoken(step)
                self._steps.pop(event.id, None)
                self._speaker = 0
                ending = format_ending(event.outcome, event.seconds, printable(event.detail))
                return (*lines, f"{step.label} ... {ending}")
            case LaneEnded():
                return self._lane_ended(event)
            case Message():
                self._speaker = 0
                mark = "warning: " if event.level is Level.WARNING else ""
                return (mark + printable(event.text),)
            case _:
                assert_never(event)

    def _lane_ended(self, event: LaneEnded) -> tuple[str, ...]:
        if event.outcome not in (Outcome.FAILED, Outcome.CANCELLED):
            # The summary has a line for each image that there is.
            return ()
        self._speaker = 0
        ending = format_ending(event.outcome, event.seconds, printable(event.detail))
        return (f"{printable(event.lane)} ... {ending}",)

    def _output(self, event: StepOutput) -> tuple[str, ...]:
        step, now = self._step(event.id), self._clock()
        silent = now - step.spoke_at >= SILENT_SECONDS
        step.spoke_at = now
        time = f" {format_seconds(now - step.began)}" if silent else ""
        step.held.append(f"#{step.number}{time} | {printable(event.line)}")
        others = any(other.held for other in self._steps.values() if other is not step)
        if self._speaker in (0, step.number) and not others:
            return self._spoken(step)
        if now - self._spoken_at >= HOLD_SECONDS:
            return self._held()
        self._release_later()
        return ()

    def _release_later(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(HOLD_SECONDS, self._release)
            self._timer.daemon = True
            with suppress(RuntimeError):  # no thread to be had: the next event writes it
                self._timer.start()

    def _spoken(self, step: _Step) -> tuple[str, ...]:
        """What a step has held, below its name where the last line was another one's."""
        if not step.held:
            return ()
        lines, step.held = step.held, []
        # Nobody scrolls up to find what a number means.
        name = () if self._speaker == step.number else (f"{step.label} ...",)
        self._speaker, self._spoken_at = step.number, self._clock()
        step.is_known = True
        return (*name, *lines)

    def _held(self) -> tuple[str, ...]:
        """What all steps have held, the speaker's first, and the names of silent ones."""
        steps = sorted(self._steps.values(), key=lambda step: step.number != self._speaker)
        return tuple(line for step in steps for line in (self._spoken(step) or self._named(step)))

    def _named(self, step: _Step) -> tuple[str, ...]:
        """That a step began, told once."""
        if step.is_known:
            return ()
        step.is_known = True
        self._speaker, self._spoken_at = step.number, self._clock()
        return (f"{step.label} ...",)

    def _release(self) -> None:
        with self._lock:
            self._timer = None
            self._out.write(*self._held())

    def _progress(self, event: StepProgress) -> tuple[str, ...]:
        step, now = self._step(event.id), self._clock()
        if now - step.told_at < PROGRESS_SECONDS:
            return ()
        step.told_at = step.spoke_at = now
        step.is_known = True
        lines = self._spoken(step)
        self._speaker = step.number
        far = f"{format_progress(event)} ({format_seconds(now - step.began)})"
        return (*lines, f"{step.label} ... {far}")

    def _start(self, step_id: str, name: str) -> _Step:
        self._count += 1
        now = self._clock()
        step = _Step(f"#{self._count} {printable(name)}", self._count, now, now, now)
        self._steps[step_id] = step
        return step

    def _step(self, step_id: str) -> _Step:
        # A step that never said it started is numbered now: a sink does not raise.
        return self._steps.get(step_id) or self._start(step_id, step_id)
