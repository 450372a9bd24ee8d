# SPDX-License-Identifier: Apache-2.0
"""Edits of whole lines: instructions with the comments above them, and lines of other files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.advice.model import Edit
from wherry.frontends.dockerfile.source import Position, Range

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry.advice.texts import Text


def block(text: Text, place: Range) -> Range:
    """The whole lines of an instruction, and of the comments right above it."""
    first, last = place.lines
    while first > 1 and text.lines[first - 2].lstrip().startswith("#"):
        first -= 1
    return Range(Position(first, 0), Position(last + 1, 0))


def block_text(text: Text, place: Range) -> str:
    """What stands in such a block, for an edit: it ends with a newline."""
    found = text.slice(block(text, place)).replace("\r\n", "\n")
    return found if found.endswith("\n") else f"{found}\n"


def removal(text: Text, place: Range) -> Edit:
    """Takes such a block out, with the blank line above where one is left below."""
    whole = block(text, place)
    first, after = whole.start.line, whole.end.line
    if _is_blank(text, first - 1) and (after > len(text.lines) or _is_blank(text, after)):
        first -= 1
    return Edit(Range(Position(first, 0), whole.end), "")


def before(text: Text, place: Range, new: str) -> Edit:
    """Puts lines before an instruction and the comments above it; `new` ends with a newline."""
    start = block(text, place).start
    return Edit(Range(start, start), new)


def after(text: Text, place: Range, new: str) -> Edit:
    """Puts lines behind an instruction; `new` ends with a newline."""
    at = Position(place.lines[1] + 1, 0)
    if at.line > len(text.lines) and not text.whole.endswith("\n"):
        new = "\n" + new.removesuffix("\n")
    return Edit(Range(at, at), new)


def gap(text: Text, place: Range) -> str:
    """The blank line that stands above an instruction's block, empty without one."""
    return "\n" if _is_blank(text, block(text, place).start.line - 1) else ""


def _is_blank(text: Text, number: int) -> bool:
    return 1 <= number <= len(text.lines) and not text.lines[number - 1].strip()


def added_lines(lines: Iterable[str], path: str) -> Edit:
    """Puts lines at the end of a file of the build context, unless the file has them."""
    start = Position(1, 0)
    return Edit(Range(start, start), "".join(f"{line}\n" for line in lines), path)
