# SPDX-License-Identifier: Apache-2.0
"""What was found wrong, or worth a word, while a Dockerfile is lowered."""

from __future__ import annotations

from wherry.frontends.dockerfile.checks import Checks
from wherry.frontends.dockerfile.source import Problem, Problems, Range


class Notes:
    """The problems and warnings of one Dockerfile; `checks` says which warnings are wanted.

    `hints` are near names for variables that nothing sets: looked for once each, as that is slow.
    """

    __slots__ = ("_checks", "_problems", "_warnings", "hints")

    def __init__(self, checks: Checks) -> None:
        self._checks = checks
        self.hints: dict[str, str] = {}
        # Each is told once, though a stage's base may be asked for several times.
        self._problems: dict[Problem, None] = {}
        self._warnings: dict[Problem, None] = {}

    def fail(self, problem: Problem) -> None:
        """Take note of an error: the build will be refused."""
        self._problems[problem] = None

    def warn(self, check: str, message: str, place: Range, hint: str = "") -> None:
        """Take note of a warning; `check` is the name it is switched off by, empty for none."""
        if self._checks.allows(check):
            named = f"{hint} (check {check})".lstrip() if check else hint
            self._warnings[Problem(message, place, named)] = None

    @property
    def failed(self) -> bool:
        """Whether there is any problem so far."""
        return bool(self._problems)

    def raise_problems(self) -> None:
        """Raise `Problems` with all problems by line, if there are any."""
        if self._problems:
            raise Problems(tuple(sorted(self._problems, key=_position)))

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """All warnings by line."""
        return tuple(sorted(self._warnings, key=_position))


def _position(problem: Problem) -> tuple[int, int]:
    return problem.range.start
