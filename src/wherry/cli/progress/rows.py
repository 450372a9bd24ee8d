# SPDX-License-Identifier: Apache-2.0
"""The moving rows of the live view: one for each running step, never wider than the terminal.

Names share one column, so that bars stand under each other; counts keep the width of their total,
so that nothing jumps while they grow. What does not fit goes in this order: detail, bar, name.
"""

from __future__ import annotations

from typing import NamedTuple

from rich.text import Text

from wherry.cli.progress.lines import INDENT, TIME_WIDTH, Running
from wherry.cli.progress.output import printable
from wherry.cli.progress.units import format_progress, format_seconds, widest_progress
from wherry.events import StepProgress

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_MIN_NAME, _MIN_DETAIL = 20, 12
# Below this many columns beside the head, a percentage stands for the count.
_SHORT_ROOM = 60
_BAR_SHARE, _MIN_BAR, _MAX_BAR = 5, 8, 28


class Frame(NamedTuple):
    """One picture: the terminal's size, the time, and which picture of the spinner."""

    width: int
    height: int
    now: float
    tick: int


class _Columns(NamedTuple):
    """Widths that all rows of a picture share; 0 for a column that is left out."""

    name: int
    bar: int
    counts: int
    short: bool


def render_rows(running: tuple[Running, ...], frame: Frame) -> list[Text]:
    """One row a step, oldest first; the last row counts those that the height leaves out."""
    room = max(frame.height - 2, 1)
    shown = running if len(running) <= room else running[: max(room - 1, 1)]
    columns = _columns(shown, frame.width - 1 - INDENT)
    rows = [_row(step, columns, frame) for step in shown]
    if len(shown) < len(running):
        rows.append(Text(" " * INDENT + f"and {len(running) - len(shown)} more", "dim"))
    return rows


def _columns(shown: tuple[Running, ...], room: int) -> _Columns:
    # The terminal's last column stays free: a letter there makes some terminals wrap.
    short = room < _SHORT_ROOM
    name = max((Text(printable(step.name)).cell_len for step in shown), default=0)
    moving = [step.progress for step in shown if step.progress is not None]
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


def _row(step: Running, columns: _Columns, frame: Frame) -> Text:
    row = _head(step, frame)
    name = Text(printable(step.name))
    name.truncate(columns.name, overflow="ellipsis", pad=step.progress is not None)
    row.append_text(name)
    if step.progress is not None:
        if columns.bar:
            row.append("  ").append_text(_bar(step.progress, columns.bar))
        count = format_progress(step.progress, columns.short)
        row.append("  " + count.rjust(columns.counts), "cyan")
        room = frame.width - 1 - row.cell_len
        if step.progress.detail and room >= _MIN_DETAIL:
            row.append("  " + printable(step.progress.detail), "dim")
    row.truncate(frame.width - 1, overflow="ellipsis")
    row.no_wrap = True
    return row


def _head(step: Running, frame: Frame) -> Text:
    row = Text(_SPINNER[frame.tick % len(_SPINNER)], "cyan")
    row.append(" " + format_seconds(frame.now - step.since).rjust(TIME_WIDTH) + "  ", "dim")
    # A style given to Text's constructor is the base of all that follows.
    head = Text()
    return head.append_text(row)


def _bar(progress: StepProgress, width: int) -> Text:
    bar = Text()
    if not progress.total:
        return bar.append(" " * width)
    full = int(min(max(progress.current / progress.total, 0.0), 1.0) * width)
    bar.append("━" * full, "green")
    return bar.append("─" * (width - full), "dim")
