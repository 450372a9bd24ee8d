# SPDX-License-Identifier: Apache-2.0
"""The lasting lines of the live view: finished steps and images, their output, messages.

One column carries everything: a mark, the time (or `cached`), the name, a remark. These lines are
plain ANSI text so that a build whose steps all end at once is told without loading rich.
"""

from __future__ import annotations

from typing import NamedTuple

from wherry.cli.progress.output import printable
from wherry.cli.progress.units import format_seconds, format_size
from wherry.events import LaneEnded, Level, Message, Outcome, StepEnded

TIME_WIDTH = 6
# Mark, space, time, two spaces: where names begin.
INDENT = 1 + 1 + TIME_WIDTH + 2

_MOST_NAMES = 8

_CODES = {"green": "32", "red": "31", "yellow": "33", "cyan": "36", "dim": "2", "bold": "1"}
_MARKS = {
    Outcome.DONE: ("✓", "green"),
    Outcome.CACHED: ("✓", "green"),
    Outcome.FAILED: ("✗", "red"),
    Outcome.CANCELLED: ("-", "yellow"),
}


class LineStyle(NamedTuple):
    """How lines look: with ANSI colours or without."""

    color: bool

    def paint(self, text: str, style: str) -> str:
        """`text` in `style`, where colours are allowed."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.color and text and style else text

    def ended(self, name: str, event: StepEnded) -> str:
        """A finished step."""
        return self._finished(name, event.outcome, event.seconds, event.detail)

    def lane_ended(self, event: LaneEnded) -> str:
        """A finished image, with its size."""
        size = format_size(event.size) if event.size else ""
        remark = ", ".join(filter(None, (size, event.detail)))
        return self._finished(event.lane, event.outcome, event.seconds, remark)

    def heading(self, lane: str) -> str:
        """The name of an image above its steps."""
        return self.paint(printable(lane), "bold")

    def unfinished(self, lanes: tuple[str, ...]) -> str:
        """Images that the build ended without."""
        more = f" and {len(lanes) - _MOST_NAMES} more" if len(lanes) > _MOST_NAMES else ""
        names = ", ".join(printable(lane) for lane in lanes[:_MOST_NAMES])
        return self.paint(f"not finished: {names}{more}", "yellow")

    def output(self, name: str, line: str) -> str:
        """A line that a step wrote; `name` is empty where it is plain which step that was."""
        owner = f"{printable(name)} " if name else ""
        head = " " * INDENT + self.paint(f"{owner}│", "dim")
        return f"{head} {printable(line)}"

    def message(self, event: Message) -> str:
        """A line that belongs to the build as a whole."""
        mark = self.paint("warning:", "yellow") + " " if event.level is Level.WARNING else ""
        return mark + printable(event.text)

    def _finished(self, name: str, outcome: Outcome, seconds: float, remark: str) -> str:
        time = "cached" if outcome is Outcome.CACHED else format_seconds(seconds)
        remark = printable(remark)
        if outcome in (Outcome.FAILED, Outcome.CANCELLED):
            remark = f"{outcome}: {remark}" if remark else str(outcome)
        mark = self.paint(*_MARKS[outcome])
        tail = "  " + self.paint(remark, "dim") if remark else ""
        return f"{mark} {self.paint(time.rjust(TIME_WIDTH), 'dim')}  {printable(name)}{tail}"
