# SPDX-License-Identifier: Apache-2.0
"""On which line a key stands: tomllib does not tell, and an error without a line is half an error.

This is no second parser: it knows table headers, keys and strings of several lines, in a text
that tomllib has already taken. A key that it does not find is reported at its table.
"""

from __future__ import annotations

import re

_PART = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=(.*)")
_LONG_QUOTES = ('"""', "'''")

# A number stands for a table of an array of tables: `("base", 0, "digest")`.
KeyPath = tuple[str | int, ...]


def locate_keys(text: str) -> dict[KeyPath, int]:
    """The first line, from 1, of every table header and key in `text`."""
    found: dict[KeyPath, int] = {}
    lengths: dict[KeyPath, int] = {}
    table: KeyPath = ()
    open_quote = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if open_quote:
            open_quote = "" if open_quote in line else open_quote
            continue
        if header := _HEADER.match(line):
            table = _indexed(_parts(header[2]), lengths, grows=header[1] == "[[")
            _note(found, table, (), number)
        elif key := _KEY.match(line):
            _note(found, table, _parts(key[1]), number)
            open_quote = _opened(key[2])
    return found


def line_of(keys: dict[KeyPath, int], path: KeyPath) -> int:
    """The line of `path`, or of the nearest table around it; 1 where nothing is known."""
    while path and path not in keys:
        path = path[:-1]
    return keys.get(path, 1)


def name_of(path: KeyPath) -> str:
    """The key as people write it, `build.env.A`; numbers of tables are left out.

    Somebody may write `user:password@host` for a host: what stands before the @ is not told again.
    """
    return ".".join(part.rpartition("@")[2] for part in path if isinstance(part, str))


def _note(found: dict[KeyPath, int], table: KeyPath, key: KeyPath, number: int) -> None:
    # `a.b.c` also makes the tables `a` and `a.b`.
    for length in range(len(table) + 1 if key else 1, len(table) + len(key) + 1):
        found.setdefault((table + key)[:length], number)


def _indexed(header: KeyPath, lengths: dict[KeyPath, int], *, grows: bool) -> KeyPath:
    """`header` with the number of the table that each array in it has come to."""
    path: KeyPath = ()
    for depth, part in enumerate(header, start=1):
        path = (*path, part)
        if grows and depth == len(header):
            lengths[path] = lengths.get(path, 0) + 1
        if path in lengths:
            path = (*path, lengths[path] - 1)
    return path


def _parts(dotted: str) -> KeyPath:
    return tuple(part[1:-1] if part[0] in "\"'" else part for part in re.findall(_PART, dotted))


def _opened(value: str) -> str:
    """The long quote that `value` opens and does not close."""
    start = value.strip()
    for quote in _LONG_QUOTES:
        if start.startswith(quote) and quote not in start[3:]:
            return quote
    return ""
