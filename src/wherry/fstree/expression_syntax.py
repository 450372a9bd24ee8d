# SPDX-License-Identifier: Apache-2.0
"""Go's regular expressions (package regexp/syntax), as far as ignore rules can bring them about.

Sets of characters with names and escapes, `|` and `{2,3}` are here; groups and stars only as rules
make them: `(.*/)?`, `.*`, and `*` after a set. Flags are those of Go's `regexp.Compile`. Two
differences are left: what belongs to `\\pL` and its like is decided by this Python's edition of
Unicode, and `\\p{...}` with anything but a category's short name (`L`, `Lu`) is refused.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from wherry.fstree.wildcard import Ranges, negated

WITHIN_LINE: Final = negated(((10, 10),))
"""What `.` matches."""


@dataclass(frozen=True, slots=True)
class One:
    """One character of these."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Many:
    """Any number of characters of these."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Directories:
    """Nothing, or anything within a line that ends with a slash."""


@dataclass(frozen=True, slots=True)
class Place:
    """No character, but this place."""

    name: Literal["begin", "end", "word edge", "no word edge"]


@dataclass(frozen=True, slots=True)
class Repeat:
    """A part between `least` and `most` times; None: without limit."""

    part: Part
    least: int
    most: int | None


Part = One | Many | Directories | Place | Repeat
Choices = tuple[tuple[Part, ...], ...]
"""What stands between the `|` of an expression: any of these may match."""


class BadExpression(ValueError):
    """Go refuses the expression."""


def read_choices(text: str) -> Choices:
    """Read an expression; raises `BadExpression` where Go refuses it."""
    return _Reader(text).choices()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._was_repeated = False

    def choices(self) -> Choices:
        choices: list[list[Part]] = [[]]
        while self._at < len(self._text):
            repeated = self._was_repeated
            self._was_repeated = False
            if self._take("|"):
                choices.append([])
            elif times := _TIMES.match(self._text, self._at):
                self._at = times.end()
                self._repeat(choices[-1], times, repeated)
            else:
                choices[-1].extend(self._next_parts())
        return tuple(map(tuple, choices))

    def _repeat(self, parts: list[Part], times: re.Match[str], again: bool) -> None:
        self._was_repeated = True
        least = int(times[1])
        most = least if times[2] is None else int(times[3]) if times[3] else None
        if again or not parts:
            raise BadExpression(f"{times[0]} has nothing to repeat")
        parts[-1] = Repeat(parts[-1], least, most)
        if (most is not None and least > most) or _times(parts[-1]) > _MOST_TIMES:
            raise BadExpression(f"{times[0]} cannot be that often")

    def _next_parts(self) -> list[Part]:
        if self._take("^"):
            return [Place("begin")]
        if self._take("$"):
            return [Place("end")]
        if self._take("(.*/)?"):
            self._was_repeated = True
            return [Directories()]
        if self._take(".*"):
            self._was_repeated = True
            return [Many(WITHIN_LINE)]
        if self._take("["):
            ranges = self._class()
            self._was_repeated = self._take("*")
            return [Many(ranges)] if self._was_repeated else [One(ranges)]
        if self._take("\\"):
            return self._escape()
        return [_literal(self._character())]

    def _take(self, text: str) -> bool:
        taken = self._text.startswith(text, self._at)
        self._at += len(text) if taken else 0
        return taken

    def _character(self) -> str:
        if self._at == len(self._text):
            raise BadExpression("it ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def _escape(self) -> list[Part]:
        for letter, place in _PLACES.items():
            if self._take(letter):
                return [place]
        if self._take("Q"):
            end = self._text.find("\\E", self._at)
            literal = self._text[self._at : end if end >= 0 else len(self._text)]
            self._at = end + 2 if end >= 0 else len(self._text)
            return [_literal(character) for character in literal]
        group = self._group()
        return [One(group)] if group is not None else [_literal(self._escaped_character())]

    def _group(self) -> Ranges | None:
        """A set of characters named after a backslash, or None."""
        letter = self._text[self._at : self._at + 1]
        if letter in ("p", "P"):
            return self._category(letter == "P")
        if not letter or letter not in "dswDSW":
            return None
        self._at += 1
        ranges = _LETTERS[letter.lower()]
        return negated(ranges) if letter.isupper() else ranges

    def _category(self, inverted: bool) -> Ranges:
        self._at += 1
        name = self._character()
        if name == "{":
            name, closed, _ = self._text[self._at :].partition("}")
            self._at += len(name) + len(closed)
        if name.startswith("^"):
            inverted = not inverted
        ranges = category(name.removeprefix("^"))
        return negated(ranges) if inverted else ranges

    def _escaped_character(self) -> str:
        if octal := _OCTAL.match(self._text, self._at):
            self._at = octal.end()
            return chr(int(octal[0], 8))
        if digits := _HEXADECIMAL.match(self._text, self._at):
            self._at = digits.end()
            code = int(digits[1] or digits[2], 16)
            if code > sys.maxunicode:
                raise BadExpression(f"'\\{digits[0]}' is no character")
            return chr(code)
        character = self._character()
        if character in _CONTROLS:
            return _CONTROLS[character]
        if character.isalnum() or not character.isascii():
            raise BadExpression(f"'\\{character}' means nothing there")
        return character

    def _class(self) -> Ranges:
        inverted = self._take("^")
        ranges: list[tuple[int, int]] = []
        first = True
        while first or not self._take("]"):
            first = False
            ranges.extend(self._class_item())
        return negated(tuple(ranges)) if inverted else tuple(ranges)

    def _class_item(self) -> Ranges:
        named = _NAMED.match(self._text, self._at)
        if named:
            self._at = named.end()
            ranges = _GROUPS.get(named[2])
            if ranges is None:
                raise BadExpression(f"there is no class {named[0]}")
            return negated(ranges) if named[1] else ranges
        if self._take("\\"):
            group = self._group()
            if group is not None:
                return group
            self._at -= 1
        low = high = self._class_character()
        # A `-` before the closing bracket stands for itself.
        if re.match(r"-[^\]]", self._text[self._at : self._at + 2], re.DOTALL):
            self._at += 1
            high = self._class_character()
        if high < low:
            raise BadExpression(f"the range {low}-{high} is upside down")
        return ((ord(low), ord(high)),)

    def _class_character(self) -> str:
        return self._escaped_character() if self._take("\\") else self._character()


def _times(part: Part) -> int:
    """How many copies of its innermost part a repetition asks for, at most."""
    times = 1
    while isinstance(part, Repeat):
        times *= max(1, part.least if part.most is None else part.most)
        part = part.part
    return times


def _literal(character: str) -> One:
    return One(((ord(character), ord(character)),))


_PLACES: Final[dict[str, Place]] = {
    "A": Place("begin"),
    "z": Place("end"),
    "b": Place("word edge"),
    "B": Place("no word edge"),
}
_TIMES: Final = re.compile(r"\{(0|[1-9][0-9]*)(,(0|[1-9][0-9]*)?)?\}")
_MOST_TIMES: Final = 1000
_OCTAL: Final = re.compile(r"0[0-7]{0,2}|[1-7][0-7]{1,2}")
_HEXADECIMAL: Final = re.compile(r"x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]+)\})")
_NAMED: Final = re.compile(r"\[:(\^?)(.*?):\]", re.DOTALL)
_CONTROLS: Final = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _ranges(spans: str) -> Ranges:
    """Ranges from pairs of characters."""
    return tuple((ord(low), ord(high)) for low, high in zip(spans[::2], spans[1::2], strict=True))


_LETTERS: Final = {
    "d": _ranges("09"),
    "s": _ranges("\t\n\f\r  "),
    "w": _ranges("09AZ__az"),
}
_GROUPS: Final = {
    "alnum": _ranges("09AZaz"),
    "alpha": _ranges("AZaz"),
    "ascii": _ranges("\0\x7f"),
    "blank": _ranges("\t\t  "),
    "cntrl": _ranges("\0\x1f\x7f\x7f"),
    "digit": _ranges("09"),
    "graph": _ranges("!~"),
    "lower": _ranges("az"),
    "print": _ranges(" ~"),
    "punct": _ranges("!/:@[`{~"),
    "space": _ranges("\t\r  "),
    "upper": _ranges("AZ"),
    "word": _ranges("09AZ__az"),
    "xdigit": _ranges("09AFaf"),
}


@lru_cache(maxsize=16)
def category(name: str) -> Ranges:
    """All characters of a general category of Unicode, such as `L` or `lu`.

    Raises `BadExpression` for any other name.
    """
    wanted = re.sub("[-_ ]", "", name).capitalize()
    if not _CATEGORY.fullmatch(wanted):
        raise BadExpression(f"the class \\p{{{name}}} is not known")
    ranges: list[tuple[int, int]] = []
    for character in range(sys.maxunicode + 1):
        if unicodedata.category(chr(character)).startswith(wanted):
            if ranges and ranges[-1][1] == character - 1:
                ranges[-1] = (ranges[-1][0], character)
            else:
                ranges.append((character, character))
    return tuple(ranges)


_CATEGORY: Final = re.compile(r"C[cfnos]?|L[lmotu]?|M[cen]?|N[dlo]?|P[cdefios]?|S[ckmo]?|Z[lps]?")
