# SPDX-License-Identifier: Apache-2.0
"""Places in a Dockerfile, and the problems found there.

A problem is collected, not raised: all errors of a file are told at once.
"""

from __future__ import annotations

from typing import NamedTuple


class Position(NamedTuple):
    """A character: `line` counts from 1, `column` from 0 in characters of that line."""

    line: int
    column: int


class Range(NamedTuple):
    """The characters from `start` up to, not including, `end`."""

    start: Position
    end: Position

    @property
    def lines(self) -> tuple[int, int]:
        """First and last line, both included."""
        last = self.end.line if self.end.column or self.end == self.start else self.end.line - 1
        return self.start.line, max(self.start.line, last)


class Problem(NamedTuple):
    """Something wrong with a Dockerfile: what, where, and what to do (may be empty)."""

    message: str
    range: Range
    hint: str = ""


class Problems(Exception):
    """All problems of one Dockerfile, in the order of its lines."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems
