# SPDX-License-Identifier: Apache-2.0
"""What rules look at: one Dockerfile, read as far as it goes, with what is true at each line.

The stages are followed from their bases: variables, working directory, user and shell at each
instruction, which stage stands on which, and which of them the image comes from. What bases hold is
told by whoever makes the subject, else by a table (`wherry.advice.reading.base_facts`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final

from wherry.advice.limits import Room, short, why_unread
from wherry.advice.reading.base_facts import BaseFacts, facts_of
from wherry.advice.texts import Text
from wherry.advice.views import DEFAULT_SHELL, Line, StageView, State
from wherry.frontends.dockerfile.checks import Checks
from wherry.frontends.dockerfile.instructions import (
    Arg,
    Copy,
    Dockerfile,
    Env,
    Instruction,
    Run,
    Shell,
    User,
    Workdir,
)
from wherry.frontends.dockerfile.notes import Notes
from wherry.frontends.dockerfile.parse import parse_leniently
from wherry.frontends.dockerfile.refusals import BadValue
from wherry.frontends.dockerfile.request import BaseImage, NamedContext, Request
from wherry.frontends.dockerfile.scope import Scope, declare, global_scope
from wherry.frontends.dockerfile.source import Problem, Problems, Range
from wherry.frontends.dockerfile.stages import Plan, Stages
from wherry.frontends.dockerfile.typed import read_leniently
from wherry.oci.platform import Platform

if TYPE_CHECKING:
    from wherry.advice.context import Context
    from wherry.advice.reading.go_module import GoModule
    from wherry.frontends.dockerfile.nodes import Node, Parsed

_NAME: Final = re.compile(r"\$\{?(\w+)")
DEFAULT_PLATFORM: Final = Platform("linux", "amd64")


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
    everything else. `unread` is why the stages were not followed, empty where they were.
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
        self._room = Room(self.globals.values())
        self.unread = why_unread(self.parsed)
        plans = [] if self.unread else stages.plans
        self.stages: tuple[StageView, ...] = self._follow(plans, request.build_args)

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
                case Arg(arguments=arguments):
                    self._room.take(
                        len(scope.variables), [default or "" for _, default in arguments]
                    )
                    declare(scope, typed, given, self.globals)
                    self._room.keep(scope.variables.get(name, "") for name, _ in arguments)
                    return state._replace(variables=dict(scope.variables))
                case Env(variables=pairs):
                    self._room.take(len(scope.variables), [word for pair in pairs for word in pair])
                    place = typed.source.range
                    found = {
                        scope.expand(pair.name, place): scope.expand(pair.value, place)
                        for pair in pairs
                    }
                    self._room.keep(found.values())
                    for name, value in found.items():
                        scope.set(name, value)
                    environment = {**state.environment, **found}
                    return state._replace(variables=dict(scope.variables), environment=environment)
                case Workdir(path=path):
                    directory = short(scope.expand(path, typed.source.range))
                    return state._replace(directory=state.path(directory))
                case User(user=user):
                    return state._replace(user=short(scope.expand(user, typed.source.range)))
                case Shell(words=words):
                    return state._replace(shell=words)
                case _:
                    return state
        except BadValue:
            return state


def _of_base(facts: BaseFacts) -> State:
    environment = dict(facts.environment)
    shell = facts.shell_form or DEFAULT_SHELL
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
