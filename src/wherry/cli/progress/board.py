# SPDX-License-Identifier: Apache-2.0
"""What the live view knows: which steps run, in which lanes, and which lines are there to stay.

A build of several images has a lane for each. The steps of a lane stand under its name while they
run; those that took a while leave a line, as all steps outside of lanes do. An image that failed
leaves a line, too; the others are told by the summary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, NamedTuple, assert_never

from wherry.cli.progress.lines import LineStyle
from wherry.events import (
    Event,
    LaneEnded,
    Message,
    Outcome,
    StepEnded,
    StepOutput,
    StepProgress,
    StepStarted,
)

# A step that ends within this time never moves.
QUICK_SECONDS: Final = 0.2
# A step of one image among many that took no longer is not worth a line.
BRIEF_SECONDS: Final = 1.0


class Running(NamedTuple):
    """A step that has not ended: its name, when it started, how far it is, its lane."""

    name: str
    since: float
    progress: StepProgress | None = None
    lane: str = ""

    @property
    def full_name(self) -> str:
        """The name where no heading says which image the step is for."""
        return f"{self.lane}: {self.name}" if self.lane else self.name


class LaneView(NamedTuple):
    """An image under way; it has no steps while it waits for what is done for all."""

    name: str
    since: float
    steps: tuple[Running, ...]


class View(NamedTuple):
    """What moves: steps outside of lanes, and lanes in the order in which they began."""

    steps: tuple[Running, ...] = ()
    lanes: tuple[LaneView, ...] = ()


@dataclass(slots=True)
class _Lane:
    since: float
    # The lines of steps that failed, and their names.
    failed: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


class Board:
    """Takes events, in any order, never raises; a caller's lock guards it."""

    def __init__(self, style: LineStyle) -> None:
        self._style = style
        self._lines: list[str] = []
        # Steps by id, in the order they started.
        self._running: dict[str, Running] = {}
        self._lanes: dict[str, _Lane] = {}

    def take(self, event: Event, now: float) -> None:
        """Change what is known; `now` is in seconds, of one clock."""
        match event:
            case StepStarted():
                self._running[event.id] = Running(event.name, now, None, event.lane)
                if event.lane:
                    self._lanes.setdefault(event.lane, _Lane(now))
            case StepProgress():
                self._running[event.id] = self._step(event.id, now)._replace(progress=event)
            case StepOutput():
                step = self._step(event.id, now)
                plain = len(self._running) <= 1 and not step.lane
                self._lines.append(self._style.output("" if plain else step.full_name, event.line))
            case StepEnded():
                self._end_step(event, now)
            case LaneEnded():
                self._end_lane(event)
            case Message():
                self._lines.append(self._style.message(event))
            case _:
                assert_never(event)

    def view(self, now: float = math.inf) -> View:
        """What moves `now`: a step of a lane once it has run for a moment, lest rows jump."""
        alone: list[Running] = []
        steps: dict[str, list[Running]] = {name: [] for name in self._lanes}
        for step in self._running.values():
            if step.lane not in steps:
                alone.append(step)
            elif now - step.since >= QUICK_SECONDS:
                steps[step.lane].append(step)
        lanes = (
            LaneView(name, lane.since, tuple(steps[name])) for name, lane in self._lanes.items()
        )
        return View(tuple(alone), tuple(lanes))

    def drain(self) -> list[str]:
        """The lasting lines since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def flush(self) -> list[str]:
        """The lines that are left at the end: steps that failed in images that never ended."""
        for name, lane in self._lanes.items():
            self._lines += [self._style.heading(name), *lane.failed] if lane.failed else []
        if self._lanes:
            self._lines.append(self._style.unfinished(tuple(self._lanes)))
        self._lanes.clear()
        return self.drain()

    def _end_step(self, event: StepEnded, now: float) -> None:
        step = self._step(event.id, now)
        self._running.pop(event.id, None)
        line = self._style.ended(step.name, event)
        lane = self._lanes.get(step.lane)
        if lane is None:
            self._lines.append(line)
            return
        if event.outcome is Outcome.FAILED:
            lane.failed.append(line)
            lane.reasons.append(step.name)
        elif event.outcome is Outcome.DONE and event.seconds >= BRIEF_SECONDS:
            self._lines.append(self._style.ended(step.full_name, event))

    def _end_lane(self, event: LaneEnded) -> None:
        lane = self._lanes.pop(event.lane, None)
        if event.outcome is Outcome.FAILED and not event.detail and lane is not None:
            event = event._replace(detail=", ".join(lane.reasons))
        if event.outcome in (Outcome.FAILED, Outcome.CANCELLED):
            self._lines.append(self._style.lane_ended(event))

    def _step(self, step_id: str, now: float) -> Running:
        # A step that never said it started goes by its id: a sink does not raise.
        return self._running.get(step_id) or Running(step_id, now)
