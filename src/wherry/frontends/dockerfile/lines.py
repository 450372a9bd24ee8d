# SPDX-License-Identifier: Apache-2.0
"""From lines of text to logical lines: one for each instruction.

A line whose last character is the escape character goes on in the next (Dockerfile reference,
"escape"); comments in between are dropped, and so are empty lines, which are deprecated there.
Lines end with a newline alone: a carriage return before it is no part of a logical line.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.frontends.dockerfile.refusals import SPACES
from wherry.frontends.dockerfile.source import Position, Problem, Range

if TYPE_CHECKING:
    from collections.abc import Sequence

# What BuildKit reads at most as one line, in bytes without the newline.
LONGEST_LINE: Final = 65535


class Piece(NamedTuple):
    """Where a part of a logical line comes from: `offset` in it, the place in the file."""

    offset: int
    line: int
    column: int


class Logical(NamedTuple):
    """A logical line: its text, lines `first` to `last` of the file, and the comments above it.

    `empty` is the first empty line among its continuations, 0 without one.
    """

    text: str
    first: int
    last: int
    pieces: tuple[Piece, ...]
    comments: tuple[str, ...]
    empty: int

    @property
    def start(self) -> Position:
        """Where its first character stands."""
        return Position(self.pieces[0].line, self.pieces[0].column)

    def range(self, start: int, end: int) -> Range:
        """The place in the file of the characters from `start` up to, not including, `end`."""
        if len(self.pieces) == 1:
            _, line, column = self.pieces[0]
            return Range(Position(line, column + start), Position(line, column + max(start, end)))
        last = self._place(max(start, end - 1))
        return Range(self._place(start), Position(last.line, last.column + (end > start)))

    def _place(self, offset: int) -> Position:
        index = bisect_right(self.pieces, offset, key=lambda piece: piece.offset) - 1
        found = self.pieces[max(index, 0)]
        return Position(found.line, found.column + offset - found.offset)


class LineReader:
    """Reads logical lines one after another; heredocs take the lines between them.

    `at` counts the lines of the file that are read.
    """

    def __init__(self, lines: Sequence[str], escape: str, at: int = 0) -> None:
        self.lines = lines
        self.at = at
        self._escape = escape

    def logical(self) -> Logical | None:
        """The next logical line, None at the end of the file."""
        comments: list[str] = []
        for index in range(self.at, len(self.lines)):
            line = self.lines[index].rstrip("\r")
            text = line.lstrip(SPACES)
            if not text:
                continue
            if text[0] != "#":
                self.at = index + 1
                return self._joined(text, len(line) - len(text), tuple(comments))
            # BuildKit drops one character, so that an indented comment keeps its "#".
            comment = line[1:].strip(SPACES)
            if comment:
                comments.append(comment)
            else:
                comments.clear()
        self.at = len(self.lines)
        return None

    def end_of(self, line: int) -> Position:
        """Where a line of the file ends; an empty one ends with its newline."""
        length = len(self.lines[line - 1].rstrip("\r"))
        return Position(line, length) if length else Position(line + 1, 0)

    def _joined(self, text: str, column: int, comments: tuple[str, ...]) -> Logical:
        """The logical line that begins with `text`, with the lines in which it goes on."""
        first = self.at
        start = Piece(0, first, column)
        head, goes_on = self._continued(text)
        if not goes_on:
            return Logical(text, first, first, (start,), comments, 0)
        pieces, parts = [start], [head]
        offset, empty = len(head), 0
        while goes_on and self.at < len(self.lines):
            line = self.lines[self.at].rstrip("\r")
            self.at += 1
            begin = line.lstrip(SPACES)[:1]
            if not begin:
                empty = empty or self.at
            elif begin != "#":
                part, goes_on = self._continued(line)
                pieces.append(Piece(offset, self.at, 0))
                parts.append(part)
                offset += len(part)
        return Logical("".join(parts), first, self.at, tuple(pieces), comments, empty)

    def _continued(self, line: str) -> tuple[str, bool]:
        """A line without the escape that continues it, and whether it has one."""
        stripped = line.rstrip(" \t")
        if stripped.endswith(self._escape) and not stripped.endswith(self._escape * 2):
            return stripped[:-1], True
        return line, False


def split_lines(text: str) -> list[str]:
    """The lines of a text without their newlines; carriage returns stay."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


def long_lines(lines: Sequence[str]) -> list[Problem]:
    """A problem for each line that is longer than the language's readers take."""
    # A character has at most four bytes: most files need no second look.
    if len(max(lines, key=len, default="")) <= LONGEST_LINE // 4:
        return []
    return [
        Problem(
            f"the line is longer than {LONGEST_LINE} bytes",
            Range(Position(number, 0), Position(number, len(line))),
            "split it into several lines, or COPY its content from a file",
        )
        for number, line in enumerate(lines, 1)
        if len(line.encode("utf-8", "surrogatepass")) > LONGEST_LINE
    ]
