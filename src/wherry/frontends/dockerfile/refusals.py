# SPDX-License-Identifier: Apache-2.0
"""How readers of instructions say no.

A reader of a value (a number, a mount) knows no place and raises `BadValue`; a reader of an
instruction knows its lines and raises `Problems`. Nothing here is told to the user before all
instructions of the file are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import near
from wherry.frontends.dockerfile.source import Problem, Problems

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry.frontends.dockerfile.source import Range

# What Go's unicode.IsSpace holds for space; Python's str.strip() would take U+001C to U+001F too.
SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


class BadValue(Exception):
    """A value that the language does not allow, in plain words, and what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def at(self, place: Range) -> Problem:
        """The same, with the lines it stands in."""
        return Problem(self.message, place, self.hint)


def refuse(place: Range, message: str, hint: str = "") -> Problems:
    """One problem, to be raised."""
    return Problems((Problem(message, place, hint),))


def choices(word: str, allowed: Iterable[str], introduction: str = "choose from") -> str:
    """A hint with the nearest of the allowed words, if one is near, and the list of all."""
    words = tuple(allowed)
    listed = f"{introduction}: {', '.join(words)}"
    # What is long is no slip of the finger, and slow to compare.
    guess = near(word, words) if len(word) <= 40 else ""
    return f"{guess} {listed}" if guess else listed


def lower_case(text: str) -> str:
    """Lower case letter by letter, as Go has it: one letter never becomes two."""
    return text.lower() if text.isascii() else text.replace("\u0130", "i").lower()
