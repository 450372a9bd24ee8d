# SPDX-License-Identifier: Apache-2.0
"""FROM: the base of a stage, its name and its platform (Dockerfile reference, "FROM")."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wherry.frontends.dockerfile.flags import read_flags
from wherry.frontends.dockerfile.instructions import From
from wherry.frontends.dockerfile.names import description
from wherry.frontends.dockerfile.refusals import lower_case, refuse

if TYPE_CHECKING:
    from wherry.frontends.dockerfile.instructions import Source
    from wherry.frontends.dockerfile.nodes import Node

_STAGE = re.compile(r"[a-z][a-z0-9-_.]*")
_FORM = "write FROM BASE or FROM BASE AS NAME"


def read_from(node: Node, source: Source, _escape: str) -> From:
    """FROM; a stage's name counts in lower case."""
    words = node.arguments
    name = ""
    if len(words) == 3 and words[1].casefold() == "as":
        name = lower_case(words[2])
        if not _STAGE.fullmatch(name):
            raise refuse(
                node.range,
                f"{words[2]!r} is not a name for a stage",
                "begin with a letter, and use letters, digits, '-', '_' and '.' only",
            )
    elif len(words) != 1:
        raise refuse(node.range, _surplus(words), _FORM)
    given = read_flags(node)
    comment = description(node.comments, name) if node.comments else ""
    return From(source, words[0], name, given.text("platform"), comment)


def _surplus(words: tuple[str, ...]) -> str:
    if not words:
        return "FROM has no base"
    if len(words) == 2 and words[1].casefold() == "as":
        return "FROM has no name after AS"
    if words[1].casefold() == "as":
        return f"FROM has too much after the name: {' '.join(words[3:])}"
    return f"FROM has words after the base that are not AS NAME: {' '.join(words[1:])}"
