# SPDX-License-Identifier: Apache-2.0
"""Text as wide as a terminal shows it: wide letters take two cells, combining marks none.

Loading this module loads rich's tables of widths.
"""

from __future__ import annotations

from typing import Final

from rich.cells import cell_len, set_cell_size

from wherry.cli.progress.lines import LineStyle
from wherry.cli.progress.output import printable

ELLIPSIS: Final = "…"


def width_of(text: str) -> int:
    """How many cells `text` takes; it holds no controls."""
    return cell_len(text)


def on_one_line(text: str) -> str:
    """`text` without controls and tabs, whose width would depend on where they stand."""
    return printable(text).replace("\t", " ")


def fit(text: str, width: int) -> str:
    """`text`, or as much of its beginning as fits into `width` cells with an ellipsis."""
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip(" ") + ELLIPSIS


class Row:
    """A line of spans, each in a style, that is never wider than `limit` cells.

    What does not fit is cut, with an ellipsis where letters are lost; what comes after is dropped.
    """

    def __init__(self, style: LineStyle, limit: int) -> None:
        self._style = style
        self._parts: list[str] = []
        self._limit = max(limit, 0)
        self.width = 0

    @property
    def left(self) -> int:
        """How many cells are free."""
        return self._limit - self.width

    def add(self, text: str, style: str = "", *, pad: int = 0) -> Row:
        """Append `text`, with blanks up to `pad` cells after it."""
        shown = fit(text, self.left)
        self.width += cell_len(shown)
        self._parts.append(self._style.paint(shown, style))
        return self.skip(min(pad - cell_len(text), self.left))

    def skip(self, count: int) -> Row:
        """Append `count` blanks, as far as they fit; none where `count` is below 0."""
        count = max(min(count, self.left), 0)
        self.width += count
        self._parts.append(" " * count)
        return self

    def __str__(self) -> str:
        return "".join(self._parts).rstrip(" ")
