# SPDX-License-Identifier: Apache-2.0
"""Frozen progress events and the sink that takes them.

The engine tells what happens in these values; a renderer (plain lines, live view, JSON lines)
turns them into text. A sink may be called from any thread, must not block for long and must not
raise. Times are seconds as `time.monotonic` gives them, taken by the sender's clock.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Protocol


class Outcome(StrEnum):
    """How a step ended."""

    DONE = "done"
    CACHED = "cached"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Level(StrEnum):
    """How grave a message is."""

    INFO = "info"
    WARNING = "warning"


class StepStarted(NamedTuple):
    """A step began; `id` is unique within the build, `name` is what the user reads.

    `lane` names the image that the step is for where a build makes several; it is empty for what
    the build does for all of them, and where there is one image only. A lane begins with its first
    step and ends with its `LaneEnded`.
    """

    id: str
    name: str
    lane: str = ""


class StepProgress(NamedTuple):
    """How far a step is; `total` is 0 while unknown; `unit` what is counted, such as `bytes`."""

    id: str
    current: int
    total: int
    unit: str
    detail: str = ""


class StepOutput(NamedTuple):
    """One line that the step's process wrote, without its newline."""

    id: str
    line: str


class StepEnded(NamedTuple):
    """A step ended after `seconds`; `detail` is a short remark such as `8.1 MB`."""

    id: str
    outcome: Outcome
    seconds: float
    detail: str = ""


class LaneEnded(NamedTuple):
    """An image of several is finished, `seconds` after the build began, or has failed.

    Sent once for each image, after the end of its last step; one that has no step of its own has
    this event alone. `size` is the image's, in bytes, 0 where there is none; `detail` a short
    remark, for a failure its reason in one line; `digest` that of its manifest, empty where there
    is none.
    """

    lane: str
    outcome: Outcome
    seconds: float
    size: int = 0
    detail: str = ""
    digest: str = ""


class Message(NamedTuple):
    """A line that belongs to the build as a whole."""

    level: Level
    text: str


Event = StepStarted | StepProgress | StepOutput | StepEnded | LaneEnded | Message


class Sink(Protocol):
    """Takes events, from any thread; never raises."""

    def __call__(self, event: Event, /) -> None:
        """Take one event."""


def discard(_event: Event) -> None:
    """The sink of callers that do not want to know."""
