# SPDX-License-Identifier: Apache-2.0
"""On which line a key stands: tomllib does not tell, and an error without a line is half an error.

This walks over a text that tomllib has already taken (TOML 1.0.0), from token to token, and notes
where headers, keys and the items of lists begin; values mean nothing to it. A key that it does not
find is reported at its table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PART = r"""(?:"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)"""
_DOTTED = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_ONE_PART = re.compile(_PART)
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_COMMAS = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_HEADER = re.compile(rf"(\[\[?)[ \t]*({_DOTTED})[ \t]*\]\]?")
_KEY = re.compile(rf"({_DOTTED})[ \t]*=[ \t]*")
_ARRAY = re.compile(r"\[")
_ARRAY_END = re.compile(r"\]")
_TABLE = re.compile(r"\{")
_TABLE_END = re.compile(r"\}")
_SCALAR = re.compile(
    r'"""(?:[^"\\]|\\[\s\S]|"(?!""))*"{3,5}'
    r"|'''(?:[^']|'(?!''))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|\d{4}-\d\d-\d\d[ ]\d[^\s,\]}#]*"
    r"|[^\s,\]}#]+"
)
_ANY = re.compile(r"[\s\S]")

# A number stands for an item of a list or of an array of tables: `("base", 0, "digest")`.
KeyPath = tuple[str | int, ...]


def locate_keys(text: str) -> dict[KeyPath, int]:
    """The first line, from 1, of every table header, key and item of a list in `text`."""
    walk = _Walk(text)
    walk.document()
    return walk.found


def line_of(keys: Mapping[KeyPath, int], path: KeyPath) -> int:
    """The line of `path`, or of the nearest table around it; 1 where nothing is known."""
    while path and path not in keys:
        path = path[:-1]
    return keys.get(path, 1)


def name_of(path: KeyPath) -> str:
    """The key as people write it, `build.env.A`; numbers of tables and items are left out.

    Somebody may write `user:password@host` for a host: what stands before the @ is not told again.
    """
    return ".".join(_shown(part.rpartition("@")[2]) for part in path if isinstance(part, str))


def _shown(part: str) -> str:
    return part if part and part.isprintable() else repr(part)


class _Walk:
    """A place in `text`, and what was found up to it."""

    def __init__(self, text: str) -> None:
        self.found: dict[KeyPath, int] = {}
        self._text = text
        self._position = 0
        self._line = 1
        self._lengths: dict[KeyPath, int] = {}

    def document(self) -> None:
        """Go to the end of the text."""
        table: KeyPath = ()
        self._take(_BLANK)
        while self._position < len(self._text):
            if header := self._take(_HEADER):
                table = self._indexed(_parts(header[2]), grows=header[1] == "[[")
                self._note(table, ())
            elif not self._entry(table):
                self._take(_ANY)
            self._take(_BLANK)

    def _entry(self, table: KeyPath) -> bool:
        """Whether `key = value` stood here, whose table is `table`."""
        key = self._take(_KEY)
        if key is None:
            return False
        parts = _parts(key[1])
        self._note(table, parts)
        self._value((*table, *parts))
        return True

    def _value(self, path: KeyPath) -> None:
        if self._take(_ARRAY):
            index = 0
            while self._inside(_ARRAY_END):
                self._note((*path, index), ())
                self._value((*path, index))
                index += 1
        elif self._take(_TABLE):
            while self._inside(_TABLE_END):
                if not self._entry(path):
                    self._take(_ANY)
        elif self._take(_SCALAR) is None:
            self._take(_ANY)

    def _inside(self, end: re.Pattern[str]) -> bool:
        """Whether something stands here before `end`, which is left behind otherwise."""
        self._take(_COMMAS)
        return self._position < len(self._text) and self._take(end) is None

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._text, self._position)
        if match is not None:
            self._line += self._text.count("\n", self._position, match.end())
            self._position = match.end()
        return match

    def _note(self, table: KeyPath, key: KeyPath) -> None:
        # `a.b.c` also makes the tables `a` and `a.b`.
        for length in range(len(table) + 1 if key else 1, len(table) + len(key) + 1):
            self.found.setdefault((table + key)[:length], self._line)

    def _indexed(self, header: KeyPath, *, grows: bool) -> KeyPath:
        """`header` with the number of the table that each array in it has come to."""
        path: KeyPath = ()
        for depth, part in enumerate(header, start=1):
            path = (*path, part)
            if grows and depth == len(header):
                self._lengths[path] = self._lengths.get(path, 0) + 1
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
        return path


def _parts(dotted: str) -> KeyPath:
    return tuple(_plain(part) for part in _ONE_PART.findall(dotted))


def _plain(part: str) -> str:
    if part[0] == '"' and "\\" in part:
        import tomllib  # noqa: PLC0415 - loaded already where there is a text

        return str(tomllib.loads(f"k = {part}")["k"])
    return part[1:-1] if part[0] in "\"'" else part
