# SPDX-License-Identifier: Apache-2.0
"""COPYs from a stage that is not there yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from wherry.frontends.dockerfile.refusals import BadValue
from wherry.frontends.dockerfile.source import Problem, Range

if TYPE_CHECKING:
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line


def wrong_sources(subject: Subject) -> Iterator[Problem]:
    """The COPYs from a stage that stands below, which BuildKit refuses.

    What else is wrong with a `--from` the reader of stages says.
    """
    for line in subject.lines:
        with suppress(BadValue):
            found = subject.copied_stage(line)
            if found is not None and found > line.stage.number:
                named = subject.stages[found].shown
                message = f"{named} stands below, and only stages above can be copied from"
                yield Problem(message, _place(line), f"move {named} above this one")


def _place(line: Line) -> Range:
    for flag in line.node.flags:
        if flag.text.startswith("--from="):
            return flag.range
    return line.head
