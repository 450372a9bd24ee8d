# SPDX-License-Identifier: Apache-2.0
"""The lasting lines of the live view: finished steps, their output, messages.

One column carries everything: a mark, the time (or `cached`), the name, a remark. These lines are
plain ANSI text so that a build whose steps all end at once is told without loading rich.
"""

from __future__ import annotations

from typing import NamedTuple

from wherry.cli.progress.output import printable
from wherry.cli.progress.units import format_seconds
from wherry.events import Level, Message, Outcome, StepEnded, StepProgress

TIME_WIDTH = 6
# Mark, space, time, two spaces: where names begin.
INDENT = 1 + 1 + TIME_WIDTH + 2

_CODES = {"green": "32", "red": "31", "yellow": "33", "dim": "2"}
_MARKS = {
    Outcome.DONE: ("✓", "green"),
    Outcome.CACHED: ("✓", "green"),
    Outcome.FAILED: ("✗", "red"),
    Outcome.CANCELLED: ("-", "yellow"),
}


class Running(NamedTuple):
    """A step that has not ended: its name, when it started, how far it is."""

    name: str
    since: float
    progress: StepProgress | None = None


class LineStyle(NamedTuple):
    """How lines look: with ANSI colours or without."""

    color: bool

    def paint(self, text: str, style: str) -> str:
        """`text` in `style`, where colours are allowed."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.color and text else text

    def ended(self, name: str, event: StepEnded) -> str:
        """A finished step."""
        cached = event.outcome is Outcome.CACHED
        time = "cached" if cached else format_seconds(event.seconds)
        remark = printable(event.detail)
        if event.outcome in (Outcome.FAILED, Outcome.CANCELLED):
            remark = f"{event.outcome}: {remark}" if remark else str(event.outcome)
        mark = self.paint(*_MARKS[event.outcome])
        tail = "  " + self.paint(remark, "dim") if remark else ""
        return f"{mark} {self.paint(time.rjust(TIME_WIDTH), 'dim')}  {printable(name)}{tail}"

    def output(self, name: str, line: str) -> str:
        """A line that a step wrote; `name` is empty where it is plain which step that was."""
        owner = f"{printable(name)} " if name else ""
        head = " " * INDENT + self.paint(f"{owner}│", "dim")
        return f"{head} {printable(line)}"

    def message(self, event: Message) -> str:
        """A line that belongs to the build as a whole."""
        mark = self.paint("warning:", "yellow") + " " if event.level is Level.WARNING else ""
        return mark + printable(event.text)
