# SPDX-License-Identifier: Apache-2.0
"""Nodes to typed instructions: whether what was parsed makes sense.

Checks everything that needs no variable: keywords, flags, numbers of arguments, mounts, durations,
names of stages, and that a FROM comes first. All problems of a file are raised together, in the
order of its lines; one bad instruction does not hide the next. What is right and what is not is as
BuildKit's `instructions` package has it (v0.33.1, with everything of docker/dockerfile:1-labs),
except that mounts are checked here already, even in stages that are never built, and that a file
without FROM is refused here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.frontends.dockerfile.advice import checks_of, warnings_of
from wherry.frontends.dockerfile.instructions import Arg, Dockerfile, From, Instruction, Stage
from wherry.frontends.dockerfile.mounts import parse_mount
from wherry.frontends.dockerfile.readers import READERS, read_node
from wherry.frontends.dockerfile.refusals import refuse
from wherry.frontends.dockerfile.source import Problem, Problems

if TYPE_CHECKING:
    from wherry.frontends.dockerfile.nodes import Node, Parsed

__all__ = ["checks_of", "parse_mount", "read_dockerfile", "read_instruction", "warnings_of"]


# Files that are no Dockerfiles at all shall not fill the screen.
MOST_PROBLEMS = 100


def read_dockerfile(parsed: Parsed, known: tuple[Problem, ...] = ()) -> Dockerfile:
    """The stages of a parsed file, and the ARGs before them; raises `Problems` with all problems.

    Before the first FROM only ARG may stand; that is told once, however many lines there are.
    `known` are problems of the same file that others found, to be raised with the rest; what is
    missing may be missing for them. After about a hundred problems the rest of the file is left
    unread, and the last one says so.
    """
    dockerfile, problems = read_leniently(parsed, known)
    if problems:
        raise Problems(problems)
    return dockerfile


def read_leniently(
    parsed: Parsed, known: tuple[Problem, ...] = ()
) -> tuple[Dockerfile, tuple[Problem, ...]]:
    """What of a parsed file makes sense, and all problems (see `read_dockerfile`) by line.

    Instructions that are wrong are left out; a FROM that is wrong takes its stage with it.
    """
    collected = _Collected(parsed.escape, known)
    for node in parsed.nodes:
        if len(collected.problems) >= MOST_PROBLEMS:
            more = f"more than {MOST_PROBLEMS} problems: the file is not read further"
            collected.problems.append(Problem(more, node.range))
            break
        collected.add(node)
    else:
        collected.finish(parsed)
    problems = tuple(sorted(collected.problems, key=lambda problem: problem.range.start))
    stages = tuple(
        Stage(index, base, tuple(instructions))
        for index, (base, instructions) in enumerate(collected.stages)
    )
    return Dockerfile(tuple(collected.arguments), stages, parsed.escape), problems


def read_instruction(node: Node, escape: str) -> Instruction:
    """One instruction that is not FROM, such as a base's trigger; raises `Problems`."""
    found = read_node(node, escape)
    if isinstance(found, From):
        raise refuse(node.range, "FROM does not stand inside a stage", "remove it")
    return found


class _Collected:
    """What was read of a file so far."""

    def __init__(self, escape: str, known: tuple[Problem, ...]) -> None:
        self.escape = escape
        self.arguments: list[Arg] = []
        self.stages: list[tuple[From, list[Instruction]]] = []
        self.problems: list[Problem] = [*known]
        # Whether a FROM was there, and whether that one is missing was told, or cannot be known.
        self._begun = False
        # Whether the stage at hand has a FROM that cannot be read.
        self._skipping = False
        self._told = bool(known)

    def add(self, node: Node) -> None:
        """Read one node, and put it into its place."""
        self._begun = self._begun or node.keyword == "FROM"
        try:
            found: Instruction | From | None = read_node(node, self.escape)
        except Problems as wrong:
            self.problems.extend(wrong.problems)
            # An unknown instruction may have been meant as the FROM.
            self._told = self._told or node.keyword not in READERS
            found = None
        if node.keyword == "FROM":
            self._skipping = found is None
        if not self._begun:
            self._add_before_stages(node, found)
        elif isinstance(found, From):
            self.stages.append((found, []))
        elif found is not None and not self._skipping:
            self.stages[-1][1].append(found)

    def _add_before_stages(self, node: Node, found: Instruction | From | None) -> None:
        if isinstance(found, Arg):
            self.arguments.append(found)
        elif node.keyword != "ARG" and not self._told:
            self._told = True
            self.problems.append(
                Problem(
                    f"{node.keyword} stands before the first FROM",
                    node.range,
                    "begin with FROM; only ARG may stand before it",
                )
            )

    def finish(self, parsed: Parsed) -> None:
        """Take note of a file that has no FROM at all."""
        if not self._begun and not self._told and parsed.nodes:
            self.problems.append(
                Problem("the file has no FROM", parsed.nodes[-1].range, "begin with FROM BASE")
            )
