# SPDX-License-Identifier: Apache-2.0
"""Draws the live view; only the painter thread uses it.

A picture is one write: up to where the last one began, what stays, what moves, the rest erased.
Nothing is blank in between, so nothing flickers. While rows are drawn the terminal does not wrap:
where it finds a letter wider than was reckoned, it cuts the row, and the next picture finds its
place all the same. Loading this module loads rich's tables of widths.
"""

from __future__ import annotations

from typing import NamedTuple, TextIO

from wherry.cli.progress.board import View
from wherry.cli.progress.cells import width_of
from wherry.cli.progress.lines import LineStyle
from wherry.cli.progress.output import LineStream, without_styles
from wherry.cli.progress.rows import Frame, needs_compact, render_rows
from wherry.cli.progress.terminal import terminal_size

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"
_ERASE_LINE, _ERASE_BELOW = "\x1b[K", "\x1b[J"
# Ten pictures are a second.
_WHOLE_TICKS = 10


class Painter:
    """Lines that stay, rows that move; `close` takes the rows away and shows the cursor."""

    def __init__(self, stream: TextIO, style: LineStyle, out: LineStream) -> None:
        self._stream = stream
        self._style = style
        self._out = out
        self._tick = 0
        self._drawn = _Drawn((), 0)
        self._compact = False

    def show(self, lines: list[str], view: View, now: float) -> None:
        """Write `lines` above the rows and draw the rows anew, in one write."""
        width, height = terminal_size(self._stream)
        resized = (width, height) != self._drawn.size
        self._compact = self._compact and not resized
        # Once there was no room for headings they stay away: rows would jump with every step.
        self._compact |= needs_compact(view, height)
        frame = Frame(width, height, now, self._tick, self._compact)
        rows = render_rows(view, frame, self._style)
        # Lines may be wider than the terminal, which then wraps them over what stood there; and
        # what it wrapped when it was resized it remembers as one line until that is erased.
        afresh = bool(lines) or resized
        # A program that was stopped and goes on has its cursor shown by the shell: each picture
        # hides it.
        text = [HIDE, self._drawn.erase(width) if afresh else self._drawn.back(width)]
        text += [f"{line}\n" for line in lines]
        # What stands there already is passed over, but for the last row: all behind it is erased.
        # Now and then all is written: someone may have pressed Enter in between.
        whole = afresh or self._tick % _WHOLE_TICKS == 0
        there = () if whole else self._drawn.text[: len(rows) - 1]
        drawn = (
            "" if there[number : number + 1] == (row,) else f"{row}{_ERASE_LINE}"
            for number, row in enumerate(rows)
        )
        text += [_NO_WRAP, "\n".join(drawn), _WRAP, _ERASE_BELOW]
        self._out.put("".join(text))
        widths = tuple(width_of(without_styles(row)) for row in rows)
        self._drawn = _Drawn(widths, width, height, tuple(rows))
        self._tick += 1

    def close(self) -> None:
        """Leave the terminal as it was; a terminal that is gone is left alone."""
        width, _ = terminal_size(self._stream)
        self._out.put(self._drawn.erase(width) + SHOW)
        self._drawn = _Drawn((), 0)


class _Drawn(NamedTuple):
    """The rows on the screen, by their widths, the size that it had, and what they say."""

    rows: tuple[int, ...]
    width: int
    height: int = 0
    text: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    def back(self, width: int) -> str:
        """What moves the cursor from the end of the last row to the beginning of the first."""
        lines = self._lines(width)
        return "\r" + (f"\x1b[{lines - 1}A" if lines > 1 else "")

    def erase(self, width: int) -> str:
        """The same, and nothing is left of the rows.

        Line by line: some terminals keep what is erased with the whole screen, as if it had been
        scrolled away.
        """
        return "\r\x1b[2K" + "\x1b[1A\x1b[2K" * (self._lines(width) - 1)

    def _lines(self, width: int) -> int:
        # A terminal that became narrower since has wrapped the rows.
        return max(sum(max(-(-row // max(width, 1)), 1) for row in self.rows), 1)
