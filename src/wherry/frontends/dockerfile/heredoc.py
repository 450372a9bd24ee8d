# SPDX-License-Identifier: Apache-2.0
"""Heredocs: finding their markers in an instruction, and reading the lines up to the end marker.

A marker is a word `[N]<<[-]NAME` of RUN, COPY or ADD (Dockerfile reference, "Here-Documents").
Which words a line has is decided as a shell would, whatever the instruction: quotes join, `$` is
looked at, and a line whose quotes do not pair has no words and so no heredoc. All of that is as
BuildKit does it; the backslash escapes here even where a directive names another character.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.frontends.dockerfile.nodes import Heredoc
from wherry.frontends.dockerfile.refusals import BadValue
from wherry.frontends.dockerfile.words import WordError, expand_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.frontends.dockerfile.lines import LineReader

_MARKER: Final = re.compile(r"([0-9]*)<<(-?)[\t\n\f\r ]*+([^<]*)")
# Nearly every marker: a name, quoted or not, which needs no reading of words.
_PLAIN: Final = re.compile(
    r"<<(-?)(?:([A-Za-z_][A-Za-z0-9_]*)|'([A-Za-z0-9_]+)'|\"([A-Za-z0-9_]+)\")"
)
_LARGEST_DESCRIPTOR: Final = 2**64 - 1


class Marker(NamedTuple):
    """A heredoc announced: what `Heredoc` says of it before its content is read."""

    name: str
    expand: bool
    chomp: bool
    file_descriptor: int


def parse_marker(word: str) -> Marker | None:
    """Read one word as a heredoc's marker; None where it is none. Raises `BadValue`."""
    plainly = _PLAIN.fullmatch(word)
    if plainly is not None:
        chomp, bare, single, double = plainly.groups()
        return Marker(bare or single or double, bare is not None, bool(chomp), 0)
    found = _MARKER.fullmatch(word)
    if found is None or not found[3]:
        return None
    name = found[3]
    try:
        plain = expand_words(name, {}, keep_unset=True)
        if len(plain) != 1:
            return None
        raw = expand_words(name, {}, raw_quotes=True, keep_unset=True)
    except WordError as error:
        raise BadValue(f"not a heredoc's marker: {error}") from None
    # A quote that goes away was a quote that quotes.
    expand = _quotes(plain[0]) == _quotes("".join(raw))
    return Marker(plain[0], expand, bool(found[2]), _descriptor(found[1]))


def find_markers(line: str) -> tuple[Marker, ...]:
    """The heredocs that a logical line announces, in order. Raises `BadValue`."""
    try:
        words = expand_words(line, {}, raw_quotes=True, raw_escapes=True, keep_unset=True)
    except WordError:
        return ()
    found = (parse_marker(word) for word in words if "<<" in word)
    return tuple(marker for marker in found if marker is not None)


def read_bodies(reader: LineReader, markers: tuple[Marker, ...]) -> tuple[Heredoc, ...]:
    """Take the heredocs' lines from `reader`. Raises `BadValue` where an end marker is missing."""
    return tuple(_read_body(reader, marker) for marker in markers)


def _read_body(reader: LineReader, marker: Marker) -> Heredoc:
    lines, start = reader.lines, reader.at
    for index in range(start, len(lines)):
        line = lines[index].rstrip("\r")
        if (line.lstrip("\t") if marker.chomp else line) == marker.name:
            reader.at = index + 1
            content = "".join(f"{text}\n" for text in lines[start:index])
            return Heredoc(marker.name, content, *marker[1:])
    reader.at = len(lines)
    raise BadValue(f"the heredoc {marker.name} has no end", _near_end(lines[start:], start, marker))


def _near_end(lines: Sequence[str], start: int, marker: Marker) -> str:
    """What to do about a missing end marker; names a line that nearly is one."""
    for number, line in enumerate(lines, start + 1):
        if line.strip() == marker.name:
            return f"line {number} has spaces around {marker.name}: the end marker stands alone"
    return f"end it by a line with {marker.name} alone"


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')


def _descriptor(digits: str) -> int:
    """The number before `<<`, 0 without one; too large a number is the largest there is."""
    significant = digits.lstrip("0")
    if len(significant) > 20:
        return _LARGEST_DESCRIPTOR
    return min(int(significant or "0"), _LARGEST_DESCRIPTOR)
