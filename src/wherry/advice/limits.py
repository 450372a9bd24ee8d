# SPDX-License-Identifier: Apache-2.0
"""How much of a Dockerfile is looked at: far more than anybody writes.

Rules look at each instruction in the light of all others. Of as many as fit into a file of a
megabyte that would take hours, and the values of variables that are made of one another would fill
the memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from wherry.frontends.dockerfile.refusals import BadValue

if TYPE_CHECKING:
    from wherry.frontends.dockerfile.nodes import Node, Parsed

_MOST_INSTRUCTIONS: Final = 1_000
_MOST_STAGES: Final = 200
_LONGEST: Final = 200_000
# Words of ARG and ENV that count in one stage, and letters that all values together may grow by.
_MOST_WORDS: Final = 1_000
_MOST_LETTERS: Final = 16 << 20
_LONGEST_NAME: Final = 4096


def why_unread(parsed: Parsed) -> str:
    """Why a file's stages are not followed; empty where they are."""
    nodes = parsed.nodes
    if len(nodes) > _MOST_INSTRUCTIONS:
        return f"the file has more than {_MOST_INSTRUCTIONS:,} instructions"
    if sum(node.keyword == "FROM" for node in nodes) > _MOST_STAGES:
        return f"the file has more than {_MOST_STAGES:,} stages"
    if sum(map(_length, nodes)) > _LONGEST:
        return f"the instructions are longer than {_LONGEST:,} characters"
    return ""


def _length(node: Node) -> int:
    return len(node.original) + sum(len(heredoc.content) for heredoc in node.heredocs)


def short(name: str) -> str:
    """A path or a user as it is; raises `BadValue` for what Linux takes for too long."""
    if len(name) > _LONGEST_NAME:
        raise BadValue("the name is too long")
    return name


class Room:
    """What the variables of a file may grow to; every line keeps those that it sees."""

    def __init__(self, values: Iterable[str]) -> None:
        self._letters = 0
        self._longest = max(map(len, values), default=0)

    def take(self, known: int, words: Sequence[str]) -> None:
        """Before words of an ARG or ENV are worked in, with so many variables known.

        Raises `BadValue` where there is no room for what they may become.
        """
        self._letters += sum(word.count("$") for word in words) * self._longest
        if self._letters > _MOST_LETTERS or known + len(words) > _MOST_WORDS:
            raise BadValue("more variables than anybody writes")

    def keep(self, values: Iterable[str]) -> None:
        """What they became."""
        self._longest = max(self._longest, *map(len, values), 0)
