# SPDX-License-Identifier: Apache-2.0
"""Ids of steps are unique in a build that needs several solves."""

from __future__ import annotations

from wherry.api.step_ids import UniqueIds
from wherry.events import (
    Event,
    LaneEnded,
    Outcome,
    StepEnded,
    StepOutput,
    StepProgress,
    StepStarted,
)


def test_an_id_that_comes_again_is_another_one_with_all_its_events() -> None:
    told: list[Event] = []
    sink = UniqueIds(told.append)
    for _ in range(3):
        sink(StepStarted("0", "build"))
        sink(StepProgress("0", 1, 2, "packages"))
        sink(StepOutput("0", "a line"))
        sink(StepEnded("0", Outcome.DONE, 1.0))
    sink(StepStarted("1", "files", "api"))
    sink(LaneEnded("api", Outcome.DONE, 1.0))
    ids = [event.id for event in told if not isinstance(event, LaneEnded)]
    assert ids == ["0"] * 4 + ["0.2"] * 4 + ["0.3"] * 4 + ["1"]
    assert told[-1] == LaneEnded("api", Outcome.DONE, 1.0)
