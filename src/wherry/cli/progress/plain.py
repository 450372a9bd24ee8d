# SPDX-License-Identifier: Apache-2.0
"""Plain lines: a log that reads well in CI, with no cursor movement and no colours.

Steps are numbered in the order they start, and every line says its step, since steps run side by
side. What several steps write at once is held for a second at most, so that the lines of one stand
together below its name; a step that ends within that second is told by one line. Lines are never
cut. How long a step has run is told where that says something: with its progress, every few
seconds, where it speaks after a silence, and while it is silent for long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self, TextIO, assert_never

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
# CI systems end jobs that say nothing for minutes: a step that runs is told of as often as this.
ALIVE_SECONDS = 30.0


class _Timer(Protocol):
    """What `threading.Timer` is to this module."""

    daemon: bool

    def start(self) -> None: ...

    def cancel(self) -> None: ...


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

    def __init__(
        self,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
        timer: Callable[[float, Callable[[], None]], _Timer] = threading.Timer,
    ) -> None:
        self._out = LineStream(stream)
        self._clock = clock
        self._make_timer = timer
        self._lock = threading.Lock()
        self._steps: dict[str, _Step] = {}
        self._count = 0
        # The number of the step that the last line belongs to, 0 for none; when that was written.
        self._speaker, self._spoken_at = 0, 0.0
        # For held lines, and for steps that are silent.
        self._timer: _Timer | None = None
        self._alive: _Timer | None = None
        self._is_away = False

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
            self._is_away = True
            timers = self._timer, self._alive
            self._timer = self._alive = None
        for timer in timers:
            if timer is not None:
                timer.cancel()

    def come_back(self) -> None:
        """Tell of silent steps again."""
        with self._lock:
            self._is_away = False
            self._look_later()

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
            self._timer = self._started(HOLD_SECONDS, self._release)

    def _look_later(self) -> None:
        """Look at silent steps when the first of them is due: no other one is before."""
        if self._alive is None and self._steps and not self._is_away:
            due = min(step.spoke_at for step in self._steps.values()) + ALIVE_SECONDS
            self._alive = self._started(max(due - self._clock(), 0.0), self._tell_silent)

    def _started(self, seconds: float, function: Callable[[], None]) -> _Timer:
        timer = self._make_timer(seconds, function)
        timer.daemon = True
        with suppress(RuntimeError):  # no thread to be had: the next event writes what is held
            timer.start()
        return timer

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
            # What ends sooner needs no second timer.
            self._look_later()

    def _tell_silent(self) -> None:
        with self._lock:
            self._alive = None
            if self._is_away:
                return
            now = self._clock()
            silent = [step for step in self._steps.values() if now - step.spoke_at >= ALIVE_SECONDS]
            self._out.write(*(self._silent(step, now) for step in silent))
            self._look_later()

    def _silent(self, step: _Step, now: float) -> str:
        """That a step still runs."""
        name = f"#{step.number}" if self._speaker == step.number else step.label
        self._speaker = step.number
        step.spoke_at = now
        step.is_known = True
        return f"{name} ... {format_seconds(now - step.began)}"

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
