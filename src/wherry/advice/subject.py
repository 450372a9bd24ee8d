# SPDX-License-Identifier: Apache-2.0
"""What rules look at: one Dockerfile, read as far as it goes, with what is true at each line.

The stages are followed from their bases: variables, working directory, user and shell at each
instruction, which stage stands on which, and which of them the image comes from. What bases hold is
told by whoever makes the subject, else by a table (`wherry.advice.reading.base_facts`).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.reading.base_facts import BaseFacts, facts_of
from wherry.advice.texts import Text
from wherry.frontends.dockerfile.checks import Checks
from wherry.frontends.dockerfile.instructions import (
    Arg,
    Cmd,
    Copy,
    Dockerfile,
    Entrypoint,
    Env,
    Instruction,
    Run,
    Shell,
    Stage,
    User,
    Workdir,
)
from wherry.frontends.dockerfile.notes import Notes
from wherry.frontends.dockerfile.parse import parse_leniently
from wherry.frontends.dockerfile.refusals import BadValue
from wherry.frontends.dockerfile.request import BaseImage, NamedContext, Request
from wherry.frontends.dockerfile.scope import Scope, declare, global_scope
from wherry.frontends.dockerfile.source import Problem, Problems, Range
from wherry.frontends.dockerfile.stages import SCRATCH, Plan, Stages
from wherry.frontends.dockerfile.typed import read_leniently
from wherry.frontends.dockerfile.words import WordError, expand
from wherry.oci.platform import Platform

if TYPE_CHECKING:
    from wherry.advice.context import Context
    from wherry.advice.reading.go_module import GoModule
    from wherry.advice.reading.shell import Command
    from wherry.frontends.dockerfile.nodes import Node, Parsed

_DEFAULT_SHELL: Final = ("/bin/sh", "-c")
_NAME: Final = re.compile(r"\$\{?(\w+)")
_POSIX_SHELLS: Final = frozenset(("sh", "bash", "ash", "dash", "zsh"))
DEFAULT_PLATFORM: Final = Platform("linux", "amd64")


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
    of the stages below, empty where it is not known. `facts` are what is known of it.
    """

    def __init__(self, subject: Subject, stage: Stage, plan: Plan, below: StageView | None) -> None:
        self.subject = subject
        self.stage = stage
        self.plan = plan
        self.below = below
        self.number = stage.number
        self.name = stage.base.name
        self.lines: list[Line] = []
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


_EMPTY: Final = State({}, {}, "/", "", _DEFAULT_SHELL)


class _NoWorld:
    """Nothing outside of the file is asked while stages are told apart."""

    def image(self, reference: str, platform: Platform) -> BaseImage:
        raise NotImplementedError

    def named(self, name: str, platform: Platform) -> NamedContext | None:
        raise NotImplementedError


class Subject:
    """A Dockerfile to give advice on.

    `path` is what messages call it. `context` is the directory that it is built from, None where
    that is not known; `module` the Go module there, None without one. `facts` says what an image
    holds. `problems` are those of a file that would not build; what they are about is left out of
    everything else.
    """

    def __init__(
        self,
        path: str,
        text: str | bytes,
        context: Context | None = None,
        module: GoModule | None = None,
        build_args: Mapping[str, str] | None = None,
        facts: Callable[[str], BaseFacts] = facts_of,
    ) -> None:
        self.path = path
        self.context = context
        self.module = module
        self.facts_of = facts
        self.parsed: Parsed
        try:
            self.parsed, problems = parse_leniently(text)
        except Problems as wrong:
            self.parsed, problems = parse_leniently("")[0], wrong.problems
        self.text = Text(text, self.parsed.escape)
        dockerfile, problems = read_leniently(self.parsed, problems)
        self.dockerfile: Dockerfile = dockerfile
        request = Request(
            dockerfile, _NoWorld(), DEFAULT_PLATFORM, DEFAULT_PLATFORM, build_args or {}
        )
        notes = Notes(Checks())
        scope = global_scope(request, notes)
        stages = Stages(request, scope, notes)
        try:
            notes.raise_problems()
        except Problems as wrong:
            open_ends = _given_later(dockerfile, scope.variables)
            problems = (
                *problems, *(found for found in wrong.problems if found.range not in open_ends)
            )  # fmt: skip
        self.problems: tuple[Problem, ...] = tuple(
            sorted(dict.fromkeys(problems), key=lambda problem: problem.range.start)
        )
        self._stages = stages
        self.globals: Mapping[str, str] = scope.variables
        self.stages: tuple[StageView, ...] = self._follow(stages.plans, request.build_args)

    @property
    def final(self) -> StageView | None:
        """The stage that an image comes from where no target is named: the last."""
        return self.stages[-1] if self.stages else None

    @cached_property
    def results(self) -> tuple[StageView, ...]:
        """The stages that images come from: the last, and every other that no stage uses."""
        used: set[int] = set()
        for stage in self.stages:
            if stage.below is not None:
                used.add(stage.below.number)
            used.update(stage.plan.sources)
        return tuple(
            stage for stage in self.stages if stage.number not in used or stage is self.final
        )

    @cached_property
    def exported(self) -> frozenset[int]:
        """The stages whose layers are in an image: results, and what they stand on."""
        return frozenset(below.number for stage in self.results for below in stage.chain())

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """All lines of all stages."""
        return tuple(line for stage in self.stages for line in stage.lines)

    def source_stage(self, line: Line) -> StageView | None:
        """The stage that a COPY reads from; None for the build context and for images."""
        typed = line.instruction
        if not isinstance(typed, Copy) or not typed.from_:
            return None
        try:
            found = self._stages.find(typed.from_)
        except BadValue:
            return None
        return None if found is None or found >= line.stage.number else self.stages[found]

    def copied_stage(self, line: Line) -> int | None:
        """The number of the stage that a COPY names, above it or not; None for all else.

        Raises `BadValue` for a `--from` that can be neither a stage's name nor an image's.
        """
        typed = line.instruction
        if not isinstance(typed, Copy) or not typed.from_:
            return None
        return next(iter(self._stages.sources_of(typed)), None)

    def mounted_stages(self, line: Line) -> tuple[StageView, ...]:
        """The stages that a RUN's mounts read from."""
        if not isinstance(line.instruction, Run):
            return ()
        try:
            found = tuple(self._stages.sources_of(line.instruction))
        except BadValue:
            return ()
        return tuple(
            self.stages[number]
            for number in found
            if number is not None and number < line.stage.number
        )

    def node_at(self, place: Range) -> Node:
        """The instruction as written that stands there."""
        return self._nodes[place]

    @cached_property
    def _nodes(self) -> dict[Range, Node]:
        return {node.range: node for node in self.parsed.nodes}

    def _follow(self, plans: list[Plan], given: Mapping[str, str]) -> tuple[StageView, ...]:
        views: list[StageView] = []
        for plan in plans:
            # A stage can only stand on one before it.
            below = None if plan.base is None else views[plan.base]
            view = StageView(self, plan.stage, plan, below)
            self._walk(view, given)
            views.append(view)
        return tuple(views)

    def _walk(self, view: StageView, given: Mapping[str, str]) -> None:
        state = view.below.ends if view.below is not None else _of_base(view.facts)
        view.begins = state
        scope = Scope(self.dockerfile.escape, Notes(Checks(frozenset({"all"}))))
        for name, value in state.variables.items():
            scope.set(name, value)
        for typed in view.stage.instructions:
            node = self.node_at(typed.source.range)
            view.lines.append(Line(self, view, node, typed, state))
            state = self._after(typed, state, scope, given)
        view.ends = state

    def _after(
        self, typed: Instruction, state: State, scope: Scope, given: Mapping[str, str]
    ) -> State:
        try:
            match typed:
                case Arg():
                    declare(scope, typed, given, self.globals)
                    return state._replace(variables=dict(scope.variables))
                case Env(variables=pairs):
                    place = typed.source.range
                    found = {
                        scope.expand(pair.name, place): scope.expand(pair.value, place)
                        for pair in pairs
                    }
                    for name, value in found.items():
                        scope.set(name, value)
                    environment = {**state.environment, **found}
                    return state._replace(variables=dict(scope.variables), environment=environment)
                case Workdir(path=path):
                    directory = scope.expand(path, typed.source.range)
                    return state._replace(directory=state.path(directory))
                case User(user=user):
                    return state._replace(user=scope.expand(user, typed.source.range))
                case Shell(words=words):
                    return state._replace(shell=words)
                case _:
                    return state
        except BadValue:
            return state


def _of_base(facts: BaseFacts) -> State:
    environment = dict(facts.environment)
    shell = facts.shell_form or _DEFAULT_SHELL
    return State(environment, environment, facts.directory, facts.user, shell)


def _given_later(dockerfile: Dockerfile, known: Mapping[str, str]) -> frozenset[Range]:
    """The FROMs with an ARG that has no value here: whoever builds gives it one.

    What such a line expands to says nothing about the file.
    """
    missing: set[str] = set()
    for argument in dockerfile.arguments:
        for name, default in argument.arguments:
            # One that is made of such an ARG is as open as that one.
            if not known.get(name) or not missing.isdisjoint(_NAME.findall(default or "")):
                missing.add(name)
    return frozenset(
        stage.base.source.range
        for stage in dockerfile.stages
        if not missing.isdisjoint(_NAME.findall(f"{stage.base.base} {stage.base.platform}"))
    )


def is_posix_shell(shell: tuple[str, ...]) -> bool:
    """Whether a SHELL reads commands as POSIX shells do."""
    return bool(shell) and posixpath.basename(shell[0]) in _POSIX_SHELLS
