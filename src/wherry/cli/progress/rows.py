# SPDX-License-Identifier: Apache-2.0
"""The moving rows of the live view: one for each running step, never wider than the terminal.

Names share one column, so that bars stand under each other; counts keep the width of their total,
so that nothing jumps while they grow. What does not fit goes in this order: detail, bar, name. An
image of several has its name above its steps; where the height has no room for that, one row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from wherry.cli.progress.board import LaneView, Running, View
from wherry.cli.progress.cells import Row, fit, on_one_line, width_of
from wherry.cli.progress.lines import INDENT, TIME_WIDTH, LineStyle
from wherry.cli.progress.units import format_progress, format_seconds, widest_progress
from wherry.events import StepProgress

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_MIN_NAME, _MIN_DETAIL = 20, 12
# Below this many columns beside the head, a percentage stands for the count.
_SHORT_ROOM = 60
_BAR_SHARE, _MIN_BAR, _MAX_BAR = 5, 8, 28


class Frame(NamedTuple):
    """One picture: the terminal's size, the time, and which picture of the spinner.

    `compact` gives each lane one row.
    """

    width: int
    height: int
    now: float
    tick: int
    compact: bool = False


class _Columns(NamedTuple):
    """Widths that all rows of a picture share; 0 for a column that is left out."""

    name: int
    bar: int
    counts: int
    short: bool


def needs_compact(view: View, height: int) -> bool:
    """Whether lanes with headings are more than a terminal of `height` lines has room for."""
    full = len(view.steps) + sum(1 + max(len(lane.steps), 1) for lane in view.lanes)
    return full > _room(height)


def render_rows(view: View, frame: Frame, style: LineStyle) -> list[str]:
    """The picture's rows, oldest first; the last one counts what the height leaves out."""
    room = _room(frame.height)
    if frame.compact or needs_compact(view, frame.height):
        one_row = [_short_of(lane) for lane in view.lanes]
        steps = (*view.steps, *one_row)
        shown = steps if len(steps) <= room else steps[: max(room - 1, 1)]
        painter = _Painter(shown, frame, style)
        rows = [painter.step(step) for step in shown]
        if len(shown) < len(steps):
            noun = "images" if len(steps) - len(shown) > 1 and view.lanes else ""
            rows.append(painter.more(len(steps) - len(shown), noun))
        return rows
    painter = _Painter((*view.steps, *_all_steps(view.lanes)), frame, style)
    rows = [painter.step(step) for step in view.steps]
    for lane in view.lanes:
        rows.append(painter.heading(lane.name))
        named = (step._replace(lane="") for step in lane.steps)
        rows += [painter.step(step) for step in named] or [painter.waiting(lane)]
    return rows


def _room(height: int) -> int:
    # The last of the lasting lines stays in sight, and one line is left for what users type.
    return max(height - 2, 1)


def _all_steps(lanes: Iterable[LaneView]) -> Iterable[Running]:
    return (step._replace(lane="") for lane in lanes for step in lane.steps)


def _short_of(lane: LaneView) -> Running:
    """One row for a lane: its oldest running step, or the lane itself while none runs."""
    return lane.steps[0] if lane.steps else Running(lane.name, lane.since)


class _Painter:
    """Draws the rows of one picture, in columns that they share."""

    def __init__(self, steps: tuple[Running, ...], frame: Frame, style: LineStyle) -> None:
        self._frame = frame
        self._style = style
        # The terminal's last column stays free: a letter there makes some terminals wrap.
        self._limit = frame.width - 1
        self._columns = _columns(steps, self._limit - INDENT)

    def step(self, step: Running) -> str:
        """Spinner, time, name, bar, count, detail."""
        columns = self._columns
        row = self._head(step.since)
        name = on_one_line(step.full_name)
        if step.progress is None:
            row.add(name)
        else:
            # The name keeps to its column: what follows begins at the same place in all rows.
            row.add(fit(name, columns.name), pad=columns.name)
            if columns.bar:
                row.skip(2)
                _add_bar(row, step.progress, columns.bar)
            count = format_progress(step.progress, columns.short)
            row.skip(2 + columns.counts - len(count)).add(count, "cyan")
            detail = on_one_line(step.progress.detail)
            if detail and row.left >= _MIN_DETAIL:
                row.skip(2).add(detail, "dim")
        return str(row)

    def heading(self, name: str) -> str:
        """The name of an image."""
        return str(Row(self._style, self._limit).add(on_one_line(name), "bold"))

    def waiting(self, lane: LaneView) -> str:
        """A lane between two steps."""
        return str(self._head(lane.since).add("waiting", "dim"))

    def more(self, count: int, noun: str) -> str:
        """What the height leaves out."""
        text = f"and {count} more {noun}".rstrip()
        return str(Row(self._style, self._limit).skip(INDENT).add(text, "dim"))

    def _head(self, since: float) -> Row:
        row = Row(self._style, self._limit)
        row.add(_SPINNER[self._frame.tick % len(_SPINNER)], "cyan").skip(1)
        time = format_seconds(self._frame.now - since)
        return row.skip(TIME_WIDTH - len(time)).add(time, "dim").skip(2)


def _columns(steps: tuple[Running, ...], room: int) -> _Columns:
    short = room < _SHORT_ROOM
    name = max((width_of(on_one_line(step.full_name)) for step in steps), default=0)
    moving = [step.progress for step in steps if step.progress is not None]
    count = max((widest_progress(progress, short) for progress in moving), default=0)
    bar = 0
    if any(progress.total for progress in moving):
        bar = min(max(room // _BAR_SHARE, _MIN_BAR), _MAX_BAR)
    # Two spaces stand before the bar and before the count.
    rest = room - (count + 2 if count else 0)
    if bar and rest - bar - 2 < min(name, _MIN_NAME):
        bar = 0
    rest -= bar + 2 if bar else 0
    return _Columns(max(min(name, rest), min(_MIN_NAME, room)), bar, count, short)


def _add_bar(row: Row, progress: StepProgress, width: int) -> None:
    if not progress.total:
        row.skip(width)
        return
    full = int(min(max(progress.current / progress.total, 0.0), 1.0) * width)
    row.add("━" * full, "green").add("─" * (width - full), "dim")
