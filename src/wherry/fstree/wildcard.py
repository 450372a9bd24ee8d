# SPDX-License-Identifier: Apache-2.0
"""Wildcards of COPY and ADD: what Go's `filepath.Match` takes for a match.

`*` is any run of characters but `/`, `?` one character but `/`, `[a-z]` and `[^a-z]` one character
of a class (which may be `/`), and a backslash takes the next character as it is. Go works on
bytes: a `*` may stop inside a character, whose remaining bytes then count one by one as U+FFFD.
So that the same matches here, a character of several bytes is spelt as itself and its continuation
bytes (as surrogate escapes). Only where a *pattern* holds bytes that are not UTF-8 do they match
whole characters here, and parts of characters in Go.

A pattern becomes one regular expression without nested repetition: a part between two stars is
taken where it first fits, which is enough as the next star may cover the rest.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from typing import Final, NamedTuple

from wherry.errors import UsageError

Ranges = tuple[tuple[int, int], ...]
"""Code points, as (first, last) pairs."""

# What Go reads a byte as that belongs to no character.
INVALID: Final = 0xFFFD
_INVALID_BYTES: Final = (0xDC80, 0xDCFF)
_SPECIAL: Final = re.compile(r"\\.|[*?\[]", re.DOTALL)
# The code points that UTF-8 spells with one, two, three and four bytes.
_WIDTHS: Final = ((0, 0x7F), (0x80, 0x7FF), (0x800, 0xFFFF), (0x10000, sys.maxunicode))


class WildcardError(UsageError):
    """A pattern that means nothing; `why` says what is wrong in it."""


def match(pattern: str, name: str) -> bool:
    """Whether `pattern` matches all of `name`.

    Raises `WildcardError` as Go does: only where matching comes to the part that is wrong. A
    pattern whose beginning does not match is never looked at to its end.
    """
    compiled = _compile(pattern)
    found = compiled.regex.match(_spell(name)) is not None
    if found and compiled.fault:
        raise WildcardError(f"not a pattern: {pattern!r}", why=compiled.fault)
    return found


def has_wildcard(text: str) -> bool:
    """Whether `text` is a pattern: has `*`, `?` or `[` without a backslash before it."""
    return any(found[0] != "\\" for found in _SPECIAL.findall(text))


def negated(ranges: Ranges) -> Ranges:
    """All code points that are not in `ranges`."""
    kept: list[tuple[int, int]] = []
    first = 0
    for low, high in sorted(ranges):
        if low > first:
            kept.append((first, low - 1))
        first = max(first, high + 1)
    if first <= sys.maxunicode:
        kept.append((first, sys.maxunicode))
    return tuple(kept)


def class_source(ranges: Ranges) -> str:
    """A regular expression for one character of `ranges`."""
    if not ranges:
        return "(?!)"
    return "[" + "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges) + "]"


class _Compiled(NamedTuple):
    """`regex` matches a whole name; with a `fault`, the part of it that comes before the fault."""

    regex: re.Pattern[str]
    fault: str


class _Fault(Exception):
    pass


@lru_cache(maxsize=512)
def _compile(pattern: str) -> _Compiled:
    sources: list[str] = []
    fault = ""
    parts = _parts(pattern)
    for index, (star, part) in enumerate(parts):
        try:
            source = _part_source(part)
        except _Fault as error:
            fault = str(error)
            break
        last = index == len(parts) - 1
        if star:
            source = f"[^/]*?{source}"
        # Where the next star begins, only the first fit counts; the last part ends the name.
        sources.append(f"(?:{source})\\Z" if last else f"(?>{source})")
    if not parts:
        sources.append("\\Z")
    return _Compiled(re.compile("".join(sources), re.DOTALL), fault)


def _parts(pattern: str) -> list[tuple[bool, str]]:
    """The pattern cut before its runs of stars: (whether stars come first, what follows them)."""
    parts: list[tuple[bool, str]] = []
    position = 0
    while position < len(pattern):
        start = position
        while position < len(pattern) and pattern[position] == "*":
            position += 1
        end = _part_end(pattern, position)
        parts.append((position > start, pattern[position:end]))
        position = end
    return parts


def _part_end(pattern: str, position: int) -> int:
    in_class = False
    while position < len(pattern):
        match pattern[position]:
            case "\\":
                position += 1
            case "[":
                in_class = True
            case "]":
                in_class = False
            case "*" if not in_class:
                return position
        position += 1
    return len(pattern)


def _part_source(part: str) -> str:
    sources: list[str] = []
    position = 0
    while position < len(part):
        match part[position]:
            case "[":
                ranges, position = _class(part, position + 1)
                sources.append(_spelt_class(ranges))
                continue
            case "?":
                sources.append(_spelt_class(negated(((ord("/"), ord("/")),))))
            case "\\":
                position += 1
                if position == len(part):
                    raise _Fault("a backslash ends it, and has nothing to escape")
                sources.append(re.escape(_spell(part[position])))
            case character:
                sources.append(re.escape(_spell(character)))
        position += 1
    return "".join(sources)


def _class(part: str, position: int) -> tuple[Ranges, int]:
    """A class whose `[` is at `position` - 1: its code points, and where it ends."""
    inverted = part[position : position + 1] == "^"
    position += inverted
    ranges: list[tuple[int, int]] = []
    while not ranges or part[position] != "]":
        low, position = _class_character(part, position)
        high = low
        if part[position] == "-":
            high, position = _class_character(part, position + 1)
        ranges.append((low, high))
    right = tuple(item for item in ranges if item[0] <= item[1])
    return negated(right) if inverted else right, position + 1


def _class_character(part: str, position: int) -> tuple[int, int]:
    """One character of a class, perhaps escaped; there is at least one more after it."""
    if part[position : position + 1] in ("-", "]"):
        raise _Fault(f"{part[position]!r} has no place there in a [...] class; escape it")
    if part[position : position + 1] == "\\":
        position += 1
    if position + 1 >= len(part):
        raise _Fault("a [...] class is not closed")
    character = ord(part[position])
    if _INVALID_BYTES[0] <= character <= _INVALID_BYTES[1]:
        raise _Fault("a [...] class holds bytes that are not UTF-8")
    return character, position + 1


def _spelt_class(ranges: Ranges) -> str:
    """A regular expression for one character of `ranges` as `_spell` writes it."""
    choices: list[str] = []
    for width, (first, last) in enumerate(_WIDTHS):
        low_surrogates = negated((_INVALID_BYTES,))
        cut = [
            (max(low, first, lowest), min(high, last, highest))
            for low, high in ranges
            for lowest, highest in low_surrogates
        ]
        within = tuple((low, high) for low, high in cut if low <= high)
        if within:
            choices.append(class_source(within) + "." * width)
    if any(low <= INVALID <= high for low, high in ranges):
        choices.append(class_source((_INVALID_BYTES,)))
    return f"(?:{'|'.join(choices)})" if choices else "(?!)"


def _spell(text: str) -> str:
    if text.isascii():
        return text
    return "".join(map(_spell_character, text))


def _spell_character(character: str) -> str:
    if character < "\x80" or "\ud800" <= character <= "\udfff":
        return character
    return character + "".join(chr(0xDC00 + byte) for byte in character.encode()[1:])
