# SPDX-License-Identifier: Apache-2.0
"""Sizes as bars: what takes room in an image, and several images beside each other.

A bar's length is a share of the whole, to an eighth of a letter, so that a base of half a megabyte
below a program of fifty is still seen. Loading this module loads rich's tables of widths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from wherry.cli.progress.cells import Row, fit, on_one_line, width_of
from wherry.cli.progress.lines import LineStyle
from wherry.cli.progress.units import format_size

if TYPE_CHECKING:
    from wherry.cli.progress.summary import Part

_EIGHTHS: Final = "▏▎▍▌▋▊▉█"
_SHADES: Final = {"base": "░", "files": "▒", "binary": "█"}
_LEGEND: Final = "░ base  ▒ files  █ programs"
_MOST_NAME, _LEAST_BAR, _MOST_BAR = 32, 8, 50
_MOST_PARTS: Final = 8
_SIZE_WIDTH: Final = len("999.9 MB")
# What stands beside the name of a part where there is no room for a bar.
_AROUND: Final = 1 + 2 + 2 + _SIZE_WIDTH + 6
# What stands beside name and bar of an image: the free column, the mark, the size, blanks.
_BESIDE_NAME: Final = 1 + 2 + 2 + 2 + _SIZE_WIDTH + 2


def render_parts(parts: Sequence[Part], width: int, color: bool) -> list[str]:
    """A line for each part: name, size, bar, share of the whole."""
    style = LineStyle(color)
    total = sum(part.size for part in parts) or 1
    parts = _largest(parts)
    names = [fit(on_one_line(part.name), min(_MOST_NAME, width - _AROUND)) for part in parts]
    column = max(map(width_of, names), default=0)
    room = _bar_room(width, column, len("  100%"))
    lines = []
    for name, part in zip(names, parts, strict=True):
        row = Row(style, width - 1).skip(2).add(name, pad=column).skip(2)
        row.add(format_size(part.size).rjust(_SIZE_WIDTH))
        if room:
            row.skip(2).add(bar(part.size / total, room), "green", pad=room)
        row.add(f"{100 * part.size / total:.0f}%".rjust(6), "dim")
        lines.append(str(row))
    return lines


def render_images(
    images: Sequence[tuple[str, int, Sequence[Part]]],
    failed: Sequence[str],
    width: int,
    color: bool,
) -> list[str]:
    """A line for each image (name, size, parts), and for each that failed."""
    style = LineStyle(color)
    limit = width or 10_000
    # Half of the line, unless the bars then had no room.
    most = max(min(limit // 2, limit - _BESIDE_NAME - _LEAST_BAR), _LEAST_BAR)
    shown = [fit(on_one_line(name), most) for name, _, _ in images]
    lost = [fit(on_one_line(name), most) for name in failed]
    column = max(map(width_of, [*shown, *lost]), default=0)
    room = _bar_room(width, column + 2, 0) if width else 0
    largest = max((size for _, size, _ in images), default=0) or 1
    lines = []
    for name, (_, size, parts) in zip(shown, images, strict=True):
        row = Row(style, limit - 1).add("✓", "green").skip(1).add(name, pad=column).skip(2)
        row.add(format_size(size).rjust(_SIZE_WIDTH))
        if room:
            row.skip(2)
            _add_parts(row, parts, round(room * size / largest))
        lines.append(str(row))
    for name in lost:
        row = Row(style, limit - 1).add("✗", "red").skip(1).add(name, pad=column).skip(2)
        lines.append(str(row.add("failed".rjust(_SIZE_WIDTH), "red")))
    if room and any(len(parts) > 1 for _, _, parts in images):
        indent = max(min(2 + column + 2 + _SIZE_WIDTH + 2, limit - 1 - len(_LEGEND)), 0)
        lines.append(str(Row(style, limit - 1).skip(indent).add(_LEGEND, "dim")))
    return lines


def _largest(parts: Sequence[Part]) -> Sequence[Part]:
    """The parts in their order; of very many the largest, and the others as one."""
    if len(parts) <= _MOST_PARTS:
        return parts
    by_size = sorted(range(len(parts)), key=lambda number: -parts[number].size)
    shown, rest = sorted(by_size[: _MOST_PARTS - 1]), by_size[_MOST_PARTS - 1 :]
    others = parts[0]._replace(
        name=f"{len(rest)} smaller ones", size=sum(parts[number].size for number in rest)
    )
    return [*(parts[number] for number in shown), others]


def bar(share: float, width: int) -> str:
    """A bar of `share` (0 to 1) of `width` cells; what is more than nothing is seen."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    if share > 0:
        eighths = max(eighths, 1)
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest - 1] if rest else "")


def _add_parts(row: Row, parts: Sequence[Part], length: int) -> None:
    """One bar whose shades are the parts' shares; the last part is what is left."""
    left = length = max(length, 1)
    # Where only one of several platforms is shown, its parts are less than the whole.
    whole = sum(part.size for part in parts) or 1
    for part in parts[:-1]:
        share = min(round(length * part.size / whole), left)
        row.add(_SHADES[part.kind] * share, _style_of(part.kind))
        left -= share
    last = parts[-1].kind if parts else "binary"
    row.add(_SHADES[last] * left, _style_of(last))


def _style_of(kind: str) -> str:
    return "green" if kind == "binary" else "dim"


def _bar_room(width: int, column: int, after: int) -> int:
    """How long bars may be: 0 where the line has no room for one worth looking at."""
    room = width - 1 - 2 - column - 2 - _SIZE_WIDTH - 2 - after
    return min(room, _MOST_BAR) if room >= _LEAST_BAR else 0
