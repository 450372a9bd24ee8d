# SPDX-License-Identifier: Apache-2.0
"""The text of a Dockerfile by places: its lines, offsets of positions, edits applied."""

from __future__ import annotations

import codecs
from bisect import bisect_right
from functools import cached_property
from typing import TYPE_CHECKING

from wherry.frontends.dockerfile.lines import LineReader, Logical, split_lines
from wherry.frontends.dockerfile.source import Position, Range

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry.advice.model import Edit


class Text:
    """A Dockerfile's text without its byte order mark; lines count from 1."""

    def __init__(self, text: str | bytes, escape: str) -> None:
        if isinstance(text, bytes):
            self.mark = text.startswith(codecs.BOM_UTF8)
            text = text.decode("utf-8", "surrogateescape")
        else:
            self.mark = text.startswith("\ufeff")
        self.whole = text.removeprefix("\ufeff")
        self.lines = split_lines(self.whole)
        self._escape = escape
        self._logicals: dict[int, Logical | None] = {}

    @cached_property
    def newline(self) -> str:
        """What ends its lines."""
        return "\r\n" if "\r\n" in self.whole else "\n"

    @cached_property
    def _starts(self) -> list[int]:
        starts, at = [], 0
        for line in self.lines:
            starts.append(at)
            at += len(line) + 1
        starts.append(at)
        return starts

    def offset(self, position: Position) -> int:
        """The character of the whole text that stands there; the end of the text at most."""
        line = min(position.line - 1, len(self.lines))
        return min(self._starts[line] + position.column, len(self.whole))

    def position(self, offset: int) -> Position:
        """The place of a character of the whole text."""
        line = bisect_right(self._starts, offset) - 1
        return Position(line + 1, offset - self._starts[line])

    def span(self, place: Range) -> tuple[int, int]:
        """The characters of the whole text at which a range begins and ends."""
        return self.offset(place.start), self.offset(place.end)

    def slice(self, place: Range) -> str:
        """The characters of a range."""
        start, end = self.span(place)
        return self.whole[start:end]

    def first_line(self, place: Range) -> Range:
        """A range cut to its first line."""
        if place.end.line == place.start.line:
            return place
        line = self.lines[place.start.line - 1].rstrip("\r")
        return Range(place.start, Position(place.start.line, max(len(line), place.start.column)))

    def logical(self, place: Range) -> Logical | None:
        """The logical line that begins where an instruction does."""
        first = place.start.line
        if first not in self._logicals:
            self._logicals[first] = LineReader(self.lines, self._escape, first - 1).logical()
        return self._logicals[first]

    def indent(self, place: Range) -> str:
        """The blanks before the first character of a range's line."""
        line = self.lines[place.start.line - 1]
        return line[: len(line) - len(line.lstrip(" \t"))]


def apply(text: Text, edits: Iterable[Edit]) -> str:
    """The text after edits of the Dockerfile, which must not overlap; others are passed over.

    Insertions at one place come in the order given.
    """
    own = [edit for edit in edits if not edit.path]
    parts, at = [], 0
    for edit in sorted(own, key=lambda item: text.span(item.range)):
        start, end = text.span(edit.range)
        if start < at:
            raise ValueError("edits overlap")
        new = edit.text if text.newline == "\n" else edit.text.replace("\n", "\r\n")
        parts += [text.whole[at:start], new]
        at = end
    parts.append(text.whole[at:])
    return "".join(parts)
