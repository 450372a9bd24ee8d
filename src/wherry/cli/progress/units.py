# SPDX-License-Identifier: Apache-2.0
"""Sizes, times and counts as people read them."""

from __future__ import annotations

from wherry.events import Outcome, StepProgress

_UNITS = ("kB", "MB", "GB", "TB")


def format_size(size: int) -> str:
    """`8.1 MB`: powers of ten, as Docker's tools show sizes."""
    if size < 1000:
        return f"{size} B"
    value, unit = size / 1000, 0
    # 999.95 would be shown as 1000.0.
    while value >= 999.95 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {_UNITS[unit]}"


def format_seconds(seconds: float) -> str:
    """`0.1s`, `12.3s`, `2m05s`, `1h02m`."""
    if seconds < 59.95:
        return f"{max(seconds, 0.0):.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def format_progress(progress: StepProgress, short: bool = False) -> str:
    """`37 of 1018 packages`, `12.3 MB of 67.0 MB`, or `12.3 MB` where the total is unknown.

    `short` gives `4%` where the total is known.
    """
    if short and progress.total:
        return f"{100 * progress.current // progress.total}%"
    if progress.unit == "bytes":
        current = format_size(progress.current)
        return f"{current} of {format_size(progress.total)}" if progress.total else current
    if progress.total:
        return f"{progress.current} of {progress.total} {progress.unit}"
    unit = progress.unit.removesuffix("s") if progress.current == 1 else progress.unit
    return f"{progress.current} {unit}"


def widest_progress(progress: StepProgress, short: bool = False) -> int:
    """The most letters that `format_progress` takes for any count up to the total."""
    full = progress._replace(current=progress.total) if progress.total else progress
    widest = max(len(format_progress(full, short)), len(format_progress(progress, short)))
    if progress.unit != "bytes" or (short and progress.total):
        return widest
    # `999.9 kB of 67.0 MB` is wider than `67.0 MB of 67.0 MB`: sizes shrink with a greater unit.
    largest = full.current
    for power in (3, 6, 9):
        below = full._replace(current=min(largest, 10**power - 10 ** (power - 3)))
        widest = max(widest, len(format_progress(below, short)))
    return widest


def format_ending(outcome: Outcome, seconds: float, detail: str) -> str:
    """`done 1.2s (8.1 MB)`; a cached step took no time worth telling."""
    text = str(outcome) if outcome is Outcome.CACHED else f"{outcome} {format_seconds(seconds)}"
    return f"{text} ({detail})" if detail else text
