# SPDX-License-Identifier: Apache-2.0
"""Answers about a stage that are asked for again and again, kept with the stage.

A path is followed through COPYs from stage to stage: without this, two COPYs from one stage would
double the work at each stage on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from wherry.advice.views import StageView

P = ParamSpec("P")
R = TypeVar("R")


def of_stage(
    answer: Callable[Concatenate[StageView, P], R],
) -> Callable[Concatenate[StageView, P], R]:
    """Ask `answer` once for a stage and the same other arguments, which have to be hashable."""

    @wraps(answer)
    def kept(stage: StageView, /, *args: P.args, **kwargs: P.kwargs) -> R:
        key = answer, args, tuple(kwargs.items())
        answers: dict[object, Any] = stage.answers
        if key not in answers:
            answers[key] = answer(stage, *args, **kwargs)
        found: R = answers[key]
        return found

    return kept
