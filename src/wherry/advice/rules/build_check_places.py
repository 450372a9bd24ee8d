# SPDX-License-Identifier: Apache-2.0
"""How an instruction is written: its keyword, the words after it, and where they stand.

Words are what stands between ASCII spaces behind the keyword and its flags, as FROM and EXPOSE are
split; quotes mean nothing here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.model import Edit, Position, Range
from wherry.advice.reading.word_places import rest_at

if TYPE_CHECKING:
    from wherry.advice.subject import Subject
    from wherry.frontends.dockerfile.nodes import Flag, Node

_WORD: Final = re.compile(r"[^\t\v\f\r ]+")


class Written(NamedTuple):
    """A word and its place; `whole` says that it stands on one line, so that it can be edited."""

    text: str
    range: Range

    @property
    def whole(self) -> bool:
        """Whether no line ends inside of it."""
        return self.range.start.line == self.range.end.line

    def edit(self, text: str) -> Edit:
        """Write another word there."""
        return Edit(self.range, text)


def keyword_of(node: Node) -> Written:
    """The keyword of an instruction as it is written."""
    start, length = node.range.start, len(node.keyword)
    place = Range(start, Position(start.line, start.column + length))
    return Written(node.original[:length], place)


def words_of(subject: Subject, node: Node) -> tuple[Written, ...]:
    """The words behind the keyword and the flags."""
    logical = subject.text.logical(node.range)
    if logical is None:
        return ()
    offset = rest_at(node)
    return tuple(
        Written(found[0], logical.range(offset + found.start(), offset + found.end()))
        for found in _WORD.finditer(node.rest)
    )


def characters(subject: Subject, node: Node, start: int, end: int) -> Written:
    """Characters of `node.original`; the first line of the instruction where they are not found."""
    logical = subject.text.logical(node.range)
    place = subject.text.first_line(node.range) if logical is None else logical.range(start, end)
    return Written(node.original[start:end], place)


def name_of(subject: Subject, node: Node, name: str) -> Range:
    """Where a name that an ARG, ENV or LABEL gives a value to stands."""
    found = re.search(rf"(?<![^\s]){re.escape(name)}(?=[=\s]|\Z)", node.rest)
    if found is None:
        return subject.text.first_line(node.range)
    offset = rest_at(node)
    return characters(subject, node, offset + found.start(), offset + found.end()).range


def variable_of(subject: Subject, node: Node, name: str) -> Range:
    """Where a variable is first used: `$NAME`, or `${NAME` and what belongs to it."""
    found = re.search(rf"\$(?:{re.escape(name)}(?!\w)|\{{{re.escape(name)}(?!\w)[^{{}}]*\}}?)",
                      node.original)  # fmt: skip
    if found is None:
        # It stands in a heredoc, or is written in parts.
        return subject.text.first_line(node.range)
    return characters(subject, node, found.start(), found.end()).range


def flag_value(subject: Subject, flag: Flag, name: str) -> Written | None:
    """The value of `--name=value`; None for another flag, or one with quotes or escapes."""
    prefix = f"--{name}="
    if not flag.text.startswith(prefix) or subject.text.slice(flag.range) != flag.text:
        return None
    start = Position(flag.range.start.line, flag.range.start.column + len(prefix))
    return Written(flag.text[len(prefix) :], Range(start, flag.range.end))
