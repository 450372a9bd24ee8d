# SPDX-License-Identifier: Apache-2.0
"""The patterns of `${name#pattern}`, `%`, `##`, `%%`, `/` and `//` (Dockerfile reference).

`*` is any run of characters of one line and `?` one character but a newline; a backslash makes
`*`, `?`, backslash, `}` and `/` ordinary and may precede nothing else. There are no classes.

A pattern is a head without stars, which is searched, and a tail of parts that each follow a star.
A part is taken where it first fits: if what comes later can match at all, it can from there, as
stars never leave the line. So nothing is tried twice, and a match takes time in proportion to the
value's length.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

# A variable that doubles itself line by line would take all memory; the kernel passes no longer one
# to a program than 128 KiB.
LONGEST: Final = 1 << 20


class PatternError(ValueError):
    """A pattern with a backslash before a character that needs none."""


class _Pattern:
    """A compiled pattern; `longest` says that its last star takes as much as it can."""

    def __init__(self, text: str, *, longest: bool) -> None:
        self._length, *parts = _parts(text.removeprefix("\ufeff"))
        head = parts[0]
        tail = [f"(?>.*?{part})" for part in parts[1:]]
        if longest and tail:
            tail[-1] = f".*{parts[-1]}"
        self._head = re.compile(head)
        self._tail = re.compile("".join(tail))

    def end_at_start(self, value: str) -> int:
        """Where a match at the beginning of `value` ends; 0 if there is none."""
        head = self._head.match(value)
        tail = head and self._tail.match(value, head.end())
        return tail.end() if tail else 0

    def find(self, value: str, start: int) -> tuple[int, int] | None:
        """The first match from `start` on: where it begins and ends."""
        while head := self._head.search(value, start):
            tail = self._tail.match(value, head.end())
            if tail:
                return head.start(), tail.end()
            # A head that ends on the same line would fail likewise.
            line_end = value.find("\n", head.end())
            if line_end < 0:
                return None
            start = max(head.start() + 1, line_end + 1 - self._length)
        return None


@lru_cache(maxsize=256)
def _compile(text: str, longest: bool) -> _Pattern:
    return _Pattern(text, longest=longest)


def without_prefix(value: str, pattern: str, *, longest: bool) -> str:
    """`value` without what `pattern` matches at its beginning; raises `PatternError`."""
    return value[_compile(pattern, longest).end_at_start(value) :]


def without_suffix(value: str, pattern: str, *, longest: bool) -> str:
    """`value` without what `pattern` matches at its end; raises `PatternError`."""
    # Read backwards, the end is the beginning; a backslash stays before what it escapes.
    backwards = "".join(reversed(_ESCAPED_OR_ONE.findall(pattern)))
    return without_prefix(value[::-1], backwards, longest=longest)[::-1]


def replaced(value: str, pattern: str, replacement: str) -> str:
    """`value` with `replacement` for the first match; raises `PatternError`."""
    found = _compile(pattern, longest=True).find(value, 0)
    return value if found is None else value[: found[0]] + replacement + value[found[1] :]


def all_replaced(value: str, pattern: str, replacement: str) -> str:
    """`value` with `replacement` for all matches; raises `PatternError`.

    Here `$0` and `${0}` in the replacement are the text that matched, `$$` is a dollar sign, and
    `$` before any other name vanishes with it: what Go's Regexp.ReplaceAllString does. Right after
    a match, a match of nothing does not count.
    """
    compiled = _compile(pattern, longest=True)
    template = _template(replacement)
    pieces: list[str] = []
    end = start = 0
    while start <= len(value) and (found := compiled.find(value, start)):
        pieces.append(value[end : found[0]])
        if found[1] > end or found[0] == 0:
            whole = value[found[0] : found[1]]
            pieces.extend(whole if part is None else part for part in template)
        end = found[1]
        start = max(start + 1, end)
    pieces.append(value[end:])
    return "".join(pieces)


_ESCAPED_OR_ONE: Final = re.compile(r"\\.|.", re.DOTALL)


def _parts(text: str) -> tuple[int, *tuple[str, ...]]:
    """How many characters the head has, then head and parts as regular expressions."""
    parts: list[list[str]] = [[]]
    escaped = False
    for character in text:
        if escaped and character not in "*?\\/}":
            raise PatternError(f"'\\{character}' means nothing in a pattern")
        if escaped:
            parts[-1].append(re.escape(character))
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == "*":
            parts.append([])
        else:
            parts[-1].append("." if character == "?" else re.escape(character))
    if escaped:
        raise PatternError("it ends with a backslash")
    return (len(parts[0]), *("".join(part) for part in parts))


def _template(replacement: str) -> tuple[str | None, ...]:
    """The replacement in pieces; None stands for the text that matched."""
    parts: list[str | None] = []
    start = 0
    for found in _REFERENCE.finditer(replacement):
        parts.append(replacement[start : found.start()])
        name = found["name"] or found["braced"]
        if name is None:
            parts.append("$")
        elif name == "0":
            parts.append(None)
        start = found.end()
    parts.append(replacement[start:])
    return tuple(parts)


# Python takes a few more numbers for letters of names than Go does, such as a superscript two.
_REFERENCE: Final = re.compile(r"\$(?:\$|\{(?P<braced>\w+)\}|(?P<name>\w+))")
