# SPDX-License-Identifier: Apache-2.0
"""What the parser makes of a Dockerfile: directives and nodes, one for each instruction.

A node is an instruction as it is written: words and flags are still unexpanded, and whether they
make sense is not asked yet (`wherry.frontends.dockerfile.typed` does).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from wherry.frontends.dockerfile.source import Problem, Range


class Directive(NamedTuple):
    """A parser directive: `# name=value` before anything else; `name` in lower case."""

    name: str
    value: str
    range: Range


class Flag(NamedTuple):
    """A flag of an instruction as written, `--name=value` or `--name`."""

    text: str
    range: Range


class Heredoc(NamedTuple):
    """A heredoc (Dockerfile reference, "Here-Documents").

    `name` is its end marker without quotes; `content` ends with a newline unless it is empty.
    `expand` is False for a quoted marker; `chomp` (for `<<-`) says that leading tabs are dropped,
    which `content` has not had yet. `file_descriptor` is the number before `<<`, 0 without one.
    """

    name: str
    content: str
    expand: bool
    chomp: bool
    file_descriptor: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """One instruction.

    `keyword` is in upper case. `original` is the logical line: continuations joined, comments
    inside it dropped, heredoc bodies left out. `rest` is what follows the keyword and the flags in
    it, stripped. `arguments` are its words as the instruction's syntax splits them (see
    `wherry.frontends.dockerfile.parse`); `json` says that `rest` is a JSON array, whose texts they
    then are. `child` is the instruction of an ONBUILD; heredocs are told of both. `comments` are
    the lines of comment right above without `#`, which only an indented one keeps. `range` runs
    from the keyword to the end of the last line, heredoc bodies included.
    """

    keyword: str
    original: str
    rest: str
    arguments: tuple[str, ...]
    flags: tuple[Flag, ...]
    json: bool
    heredocs: tuple[Heredoc, ...]
    range: Range
    comments: tuple[str, ...] = ()
    child: Node | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """A whole Dockerfile: `escape` is `\\` or a backquote; `warnings` do not stop a build."""

    nodes: tuple[Node, ...]
    directives: tuple[Directive, ...]
    escape: str
    warnings: tuple[Problem, ...] = ()

    def directive(self, name: str) -> str:
        """A directive's value, or the empty string."""
        return next((item.value for item in self.directives if item.name == name), "")
