# SPDX-License-Identifier: Apache-2.0
"""Where words of an instruction stand, what they mean, and which ARGs a FROM is made of."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from wherry.advice.reading.destinations import VARIABLE, is_known
from wherry.frontends.dockerfile.refusals import SPACES
from wherry.frontends.dockerfile.source import Range

if TYPE_CHECKING:
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView
    from wherry.frontends.dockerfile.nodes import Node


def rest_at(node: Node) -> int:
    """At which character of `node.original` its `rest` begins."""
    return len(node.original.rstrip(SPACES)) - len(node.rest)


def word_places(subject: Subject, node: Node) -> tuple[Range, ...]:
    """The place of each of a node's arguments, in their order.

    A word that cannot be found as it is written has the place of the instruction's first line.
    """
    logical = subject.text.logical(node.range)
    head = subject.text.first_line(node.range)
    if logical is None:
        return (head,) * len(node.arguments)
    begin = rest_at(node)
    places: list[Range] = []
    at = 0
    for word in node.arguments:
        written = json.dumps(word, ensure_ascii=False) if node.json else word
        found = node.rest.find(written, at) if word else -1
        if found < 0:
            places.append(head)
            continue
        at = found + len(written)
        # The quotes of a JSON array are not part of the word.
        inset = 1 if node.json else 0
        places.append(logical.range(begin + found + inset, begin + at - inset))
    return tuple(places)


def word_range(subject: Subject, node: Node, word: str) -> Range:
    """Where a word stands behind an instruction's keyword, and not as a part of another word.

    The instruction's first line where it is not found.
    """
    logical = subject.text.logical(node.range)
    found = re.search(rf"(?<![\w./$-]){re.escape(word)}(?![\w./-])", node.rest)
    if logical is None or found is None:
        return subject.text.first_line(node.range)
    begin = rest_at(node)
    return logical.range(begin + found.start(), begin + found.end())


def rest_place(line: Line) -> Range:
    """Where all that follows an instruction's keyword and flags stands."""
    logical = line.subject.text.logical(line.node.range)
    if logical is None:
        return line.head
    begin = rest_at(line.node)
    return logical.range(begin, begin + len(line.node.rest))


def base_place(stage: StageView) -> Range:
    """Where the image's name stands in a FROM."""
    places = word_places(stage.subject, stage.node)
    return places[0] if places else stage.subject.text.first_line(stage.range)


def base_arguments(stage: StageView) -> tuple[tuple[Range, str], ...]:
    """The ARGs before the first FROM that this FROM's image is made of: place and name."""
    names = set(VARIABLE.findall(stage.stage.base.base))
    return tuple(
        (stage.subject.text.first_line(argument.source.range), name)
        for argument in stage.subject.dockerfile.arguments
        for name, _ in argument.arguments
        if name in names
    )


def value_of(line: Line, word: str) -> str | None:
    """A word with its variables worked in; None where one of them has no value that is known."""
    return line.expand(word) if is_known(line, word) else None
