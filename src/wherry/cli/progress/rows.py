# SPDX-License-Identifier: Apache-2.0
"""The moving rows of the live view: one for each running step, never wider than the terminal.

Names share one column, so that bars stand under each other; counts keep the width of their total,
so that nothing jumps while they grow. What does not fit goes in this order: detail, bar, name. An
image of several has its name above its steps; where the height has no room for that, one row.
Images that wait for what is done for all of them share the last row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    busy, waiting = _by_work(view.lanes)
    full = len(view.steps) + sum(1 + len(lane.steps) for lane in busy) + bool(waiting)
    return full > _room(height)


def render_rows(view: View, frame: Frame, style: LineStyle) -> list[str]:
    """The picture's rows, oldest first; the last one counts what the height leaves out."""
    busy, waiting = _by_work(view.lanes)
    room = _room(frame.height)
    count = len(view.steps) + len(busy)
    # Of two lines at most, steps and the count of those left out come before what waits.
    last = 1 if waiting and (not count or count < room or room > 2) else 0
    if frame.compact or needs_compact(view, frame.height):
        steps = (*view.steps, *(lane.steps[0] for lane in busy))
        left = room - last
        shown = steps if len(steps) <= left else steps[: max(left - 1, 1)]
        painter = _Painter(shown, frame, style)
        rows = [painter.step(step) for step in shown]
        if len(shown) < len(steps):
            noun = "images" if len(steps) - len(shown) > 1 and busy else ""
            rows.append(painter.more(len(steps) - len(shown), noun))
    else:
        painter = _Painter((*view.steps, *_all_steps(busy)), frame, style)
        rows = [painter.step(step) for step in view.steps]
        for lane in busy:
            rows.append(painter.heading(lane.name))
            rows += [painter.step(step._replace(lane="")) for step in lane.steps]
    return [*rows, painter.waiting(waiting)] if last else rows


def _room(height: int) -> int:
    # The last of the lasting lines stays in sight, and one line is left for what users type.
    return max(height - 2, 1)


def _all_steps(lanes: Iterable[LaneView]) -> Iterable[Running]:
    return (step._replace(lane="") for lane in lanes for step in lane.steps)


def _by_work(lanes: Iterable[LaneView]) -> tuple[list[LaneView], list[LaneView]]:
    """The lanes that have a step running, and those that wait."""
    busy: list[LaneView] = []
    waiting: list[LaneView] = []
    for lane in lanes:
        (busy if lane.steps else waiting).append(lane)
    return busy, waiting


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

    def waiting(self, lanes: Sequence[LaneView]) -> str:
        """The lanes between two steps: as many names as there is room for, and a count."""
        row = Row(self._style, self._limit).skip(INDENT).add("waiting: ", "dim")
        names = [on_one_line(lane.name) for lane in lanes]
        shown = len(names)
        while shown > 1 and width_of(_listed(names, shown)) > row.left:
            shown -= 1
        return str(row.add(_listed(names, shown), "dim"))

    def more(self, count: int, noun: str) -> str:
        """What the height leaves out."""
        text = f"and {count} more {noun}".rstrip()
        return str(Row(self._style, self._limit).skip(INDENT).add(text, "dim"))

    def _head(self, since: float) -> Row:
        row = Row(self._style, self._limit)
        row.add(_SPINNER[self._frame.tick % len(_SPINNER)], "cyan").skip(1)
        time = format_seconds(self._frame.now - since)
        return row.skip(TIME_WIDTH - len(time)).add(time, "dim").skip(2)


def _listed(names: Sequence[str], shown: int) -> str:
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest else "")


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
    # A long name takes from the bar before letters are lost.
    bar = max(min(bar, rest - 2 - name), min(bar, _MIN_BAR))
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
