# SPDX-License-Identifier: Apache-2.0
"""A Dockerfile's stages and lines as rules see them, with what is true at each line."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.frontends.dockerfile.instructions import Cmd, Entrypoint, Instruction, Stage
from wherry.frontends.dockerfile.stages import SCRATCH, Plan
from wherry.frontends.dockerfile.words import WordError, expand

if TYPE_CHECKING:
    from wherry.advice.reading.base_facts import BaseFacts
    from wherry.advice.reading.shell_words import Command
    from wherry.advice.subject import Subject
    from wherry.frontends.dockerfile.nodes import Node
    from wherry.frontends.dockerfile.source import Range

DEFAULT_SHELL: Final = ("/bin/sh", "-c")
POSIX_SHELLS: Final = frozenset(("sh", "bash", "ash", "dash", "zsh"))


class State(NamedTuple):
    """What is true where an instruction stands.

    `variables` are ARG and ENV together; `environment` the ENV alone, those that are known of the
    base too. `user` is empty where neither the file nor what is known of the base says.
    """

    variables: Mapping[str, str]
    environment: Mapping[str, str]
    directory: str
    user: str
    shell: tuple[str, ...]

    def path(self, written: str) -> str:
        """An absolute, normal path: what a path of an instruction means here."""
        return posixpath.normpath("/" + posixpath.join(self.directory, written)).replace("//", "/")


class Line:
    """One instruction of a stage: as written (`node`), typed (`instruction`), and its `state`."""

    def __init__(
        self, subject: Subject, stage: StageView, node: Node, typed: Instruction, state: State
    ) -> None:
        self.subject = subject
        self.stage = stage
        self.node = node
        self.instruction = typed
        self.state = state

    @property
    def range(self) -> Range:
        """Where the whole instruction stands."""
        return self.node.range

    @cached_property
    def head(self) -> Range:
        """Its first line: what a finding about all of it points at."""
        return self.subject.text.first_line(self.node.range)

    @cached_property
    def commands(self) -> tuple[Command, ...]:
        """The simple commands of a RUN in shell form; none of any other instruction.

        A RUN in exec form is one command, whose places are those of the instruction.
        """
        from wherry.advice.reading.run_text import commands_of  # noqa: PLC0415 - files without RUN

        return commands_of(self)

    def place(self, start: int, end: int) -> Range:
        """Where characters of the RUN's command stand in the file."""
        from wherry.advice.reading.run_text import place_of  # noqa: PLC0415 - as above

        return place_of(self, start, end)

    def expand(self, word: str) -> str:
        """A word with the variables of this place worked in; as it is where it is wrong."""
        return expanded(word, self.state.variables, self.subject.parsed.escape)


def expanded(word: str, variables: Mapping[str, str], escape: str) -> str:
    """A word of an instruction with variables and quotes worked in.

    As it is where it is wrong, or names a variable that has no value here.
    """
    try:
        found = expand(word, variables, escape)
    except WordError:
        return word
    return word if found.unmatched else found.text


class StageView:
    """A stage with its lines and what it stands on.

    `below` is the stage named in its FROM, None for an image; `image` that image's reference, also
    of the stages below, empty where it is not known. `facts` are what is known of it. `answers` are
    kept by `wherry.advice.reading.remembered`.
    """

    def __init__(self, subject: Subject, stage: Stage, plan: Plan, below: StageView | None) -> None:
        self.subject = subject
        self.stage = stage
        self.plan = plan
        self.below = below
        self.number = stage.number
        self.name = stage.base.name
        self.lines: list[Line] = []
        self.answers: dict[object, object] = {}
        # A base that cannot be worked out counts as nothing for the graph, and is unknown here.
        escape = subject.parsed.escape
        is_scratch = expanded(stage.base.base, subject.globals, escape) == SCRATCH
        image = plan.image if plan.image != SCRATCH or is_scratch else ""
        self.image: str = image if below is None else below.image
        self.begins: State = _EMPTY
        self.ends: State = _EMPTY

    @property
    def range(self) -> Range:
        """Where its FROM stands."""
        return self.stage.base.source.range

    @cached_property
    def node(self) -> Node:
        """Its FROM as written."""
        return self.subject.node_at(self.range)

    @property
    def shown(self) -> str:
        """What messages call it."""
        return f"stage {self.name}" if self.name else f"stage {self.number}"

    @cached_property
    def facts(self) -> BaseFacts:
        """What is known of the image that it goes back to."""
        return self.subject.facts_of(self.image)

    @property
    def is_scratch(self) -> bool:
        """Whether it began with nothing."""
        return self.image == SCRATCH

    def chain(self) -> Iterator[StageView]:
        """This stage and those below it, itself first."""
        stage: StageView | None = self
        while stage is not None:
            yield stage
            stage = stage.below

    @cached_property
    def all_lines(self) -> tuple[Line, ...]:
        """The lines of the stages below, then its own."""
        return tuple(line for stage in reversed(tuple(self.chain())) for line in stage.lines)

    @cached_property
    def platform_is_build(self) -> bool:
        """Whether its FROM, or that of the stage it stands on, says `--platform=$BUILDPLATFORM`."""
        return any("BUILDPLATFORM" in stage.stage.base.platform for stage in self.chain())

    def last(self, kind: type[Instruction]) -> Line | None:
        """The last line of a kind, here or below."""
        found = (line for line in reversed(self.all_lines) if isinstance(line.instruction, kind))
        return next(found, None)

    @property
    def command(self) -> Line | None:
        """What the image starts: its ENTRYPOINT, else its CMD; None where the base says."""
        own = self.last(Entrypoint)
        typed = own.instruction if own is not None else None
        if isinstance(typed, Entrypoint) and typed.command.words:
            return own
        # What a CMD says is no program where the base's own ENTRYPOINT gets it.
        return None if self.facts.entrypoint and own is None else self.last(Cmd)


_EMPTY: Final = State({}, {}, "/", "", DEFAULT_SHELL)


def is_posix_shell(shell: tuple[str, ...]) -> bool:
    """Whether a SHELL reads commands as POSIX shells do."""
    return bool(shell) and posixpath.basename(shell[0]) in POSIX_SHELLS
