# SPDX-License-Identifier: Apache-2.0
"""Lower a Dockerfile to a build graph and an image configuration.

Only the stages that the target needs are lowered, and only their bases are asked for. All problems
are collected. What a stage hands on is its whole state: files, configuration, variables, history.
The measure is what BuildKit's dockerfile2llb (v0.33.1) makes of the same file.
"""

from __future__ import annotations

from typing import Final

from wherry.errors import WherryError, near
from wherry.frontends.dockerfile.building import COMMENT, Building, Vertices
from wherry.frontends.dockerfile.go_caches import with_go_caches, without_go_caches
from wherry.frontends.dockerfile.instructions import Arg, Copy, Instruction, Run, Workdir
from wherry.frontends.dockerfile.lower_copy import lower_copy, lower_workdir
from wherry.frontends.dockerfile.lower_run import lower_run
from wherry.frontends.dockerfile.metadata import lower_metadata
from wherry.frontends.dockerfile.notes import Notes
from wherry.frontends.dockerfile.origins import Origin, Origins, empty_config
from wherry.frontends.dockerfile.refusals import BadValue, lower_case
from wherry.frontends.dockerfile.request import Lowered, Request
from wherry.frontends.dockerfile.scope import (
    Scope,
    declared_arguments,
    global_scope,
    normal_platform,
    unused_arguments,
)
from wherry.frontends.dockerfile.source import Position, Problems, Range
from wherry.frontends.dockerfile.stages import SCRATCH, Plan, Stages
from wherry.frontends.dockerfile.triggers import read_triggers, triggers_of
from wherry.graph.build import BuildGraph, ImageOutput, LayerOutput, Lines, Vertex
from wherry.graph.ops import Copy as CopyAction
from wherry.graph.ops import FileOp, ImageOp
from wherry.oci.image import pairs
from wherry.oci.platform import Platform

_TOP: Final = Range(Position(1, 0), Position(1, 0))


def lower(request: Request) -> Lowered:
    """Lower the request's Dockerfile; raises `Problems` with all of them, or the resolver's error.

    The resolver's errors come with `where` set to the line that asked.
    """
    notes = Notes(request.checks)
    scope = global_scope(request, notes)
    stages = Stages(request, scope, notes)
    target = -1
    try:
        target = stages.target(request.target)
    except BadValue as wrong:
        notes.fail(wrong.at(_TOP))
    notes.raise_problems()
    lowering = _Lowering(request, scope, stages, notes)
    try:
        stage = lowering.stage(target)
    except WherryError:
        # What is wrong with the file is told before what is wrong with the world.
        notes.raise_problems()
        raise
    notes.raise_problems()
    lowering.warn_of_arguments()
    graph = lowering.graph(stage)
    return Lowered(graph, graph.image.run, notes.warnings, lowering.used())


class _Lowering:
    """The stages lowered so far."""

    def __init__(self, request: Request, scope: Scope, stages: Stages, notes: Notes) -> None:
        self._request = request
        self._globals = scope.variables
        self._stages = stages
        self._notes = notes
        self._vertices = Vertices()
        self._origins = Origins(request, stages, self._vertices, notes)
        self._done: dict[int, Building] = {}
        self._platform = normal_platform(request.platform)
        self._no_cache = {lower_case(name) for name in request.no_cache_filter}
        # Names of ARGs in triggers; those of the file's own lines are known anyway.
        self._declared: set[str] = set()

    def stage(self, index: int) -> Building:
        """The stage of that number, made with all that it needs."""
        for needed in sorted(self._needed(index)):
            # A trigger of an earlier one may have made it already.
            if needed not in self._done:
                self._done[needed] = self._lower(needed)
        return self._done[index]

    def used(self) -> tuple[str, ...]:
        """The stages that were needed, by name or number, in the file's order."""
        return tuple(self._stages.described(index) for index in sorted(self._done))

    def warn_of_arguments(self) -> None:
        """Warn of arguments that the user gave and nothing takes."""
        given = self._request.build_args
        if not given:
            return
        declared = self._declared | declared_arguments(self._request.dockerfile)
        for name in unused_arguments(given, declared):
            hint = near(name, tuple(sorted(declared))) or f"declare it: ARG {name}"
            self._notes.warn("", f"no ARG takes --build-arg {name}", _TOP, hint)

    def graph(self, stage: Building) -> BuildGraph:
        """The graph whose image is this stage."""
        request, config = self._request, stage.config
        config.labels.update(request.labels)
        output = ImageOutput(
            self._image_platform(config.platform),
            tuple(stage.layers),
            config.frozen(),
            pairs(dict(request.annotations)),
            request.created,
            config.author,
        )
        graph = BuildGraph(self._vertices.all(), (output,))
        graph.validate()
        if not request.go_cache:
            return without_go_caches(graph, "switched off")
        return with_go_caches(graph)

    def _image_platform(self, found: Platform) -> Platform:
        """The platform that the image says it is for: the asked one, else that of its base."""
        asked = self._platform
        if not self._request.platform_given:
            return normal_platform(found)
        if asked[:2] == found[:2] and not asked.variant:
            return normal_platform(found)
        return asked

    def _needed(self, index: int) -> set[int]:
        """The stage and those it leans on; without those behind it, which cannot be had anyway."""
        found, left = set[int](), [index]
        while left:
            number = left.pop()
            if number in found or number in self._done:
                continue
            found.add(number)
            plan = self._stages.plans[number]
            if self._replacement(plan) is None:
                left.extend(source for source in plan.sources if source < number)
                left.extend(() if plan.base is None else (plan.base,))
        return found

    def _replacement(self, plan: Plan) -> Origin | None:
        """The further context that stands for a stage."""
        base = plan.stage.base
        return self._origins.stage(base.name, plan.platform or self._platform, base.source.range)

    def _lower(self, index: int) -> Building:
        plan = self._stages.plans[index]
        replacement = self._replacement(plan)
        if replacement is not None:
            return self._replaced(plan, replacement)
        if plan.base is None:
            stage, triggers = self._on_image(plan)
        else:
            stage = self._done[plan.base].child(plan.name)
            triggers = self._triggers(triggers_of(self._stages.plans[plan.base].stage), plan)
            stage.steps = _count((*triggers, *plan.stage.instructions))
        name = plan.stage.base.name
        stage.fresh = self._request.no_cache or (name != "" and name in self._no_cache)
        stage.begin()
        stage.triggered = True
        for instruction in triggers:
            self._instruction(stage, index, instruction)
        stage.triggered = False
        for instruction in plan.stage.instructions:
            self._instruction(stage, index, instruction)
        return stage

    def _on_image(self, plan: Plan) -> tuple[Building, list[Instruction]]:
        """A stage that begins with what is no stage, and the triggers of that."""
        place = plan.stage.base.source.range
        # Nothing is for no platform.
        platform = (plan.platform if plan.image != SCRATCH else None) or self._platform
        origin = self._origins.image(plan.image, platform, place)
        stage = self._new(plan, origin, platform)
        triggers = self._triggers(origin.config.on_build if origin.config else (), plan)
        stage.steps = _count((*triggers, *plan.stage.instructions))
        if origin.op is not None:
            stage.steps += 1
            self._begin(stage, origin, place)
        return stage, triggers

    def _replaced(self, plan: Plan, origin: Origin) -> Building:
        """A further context instead of a stage: none of the stage's instructions counts."""
        config = origin.config
        platform = plan.platform or self._platform
        if config is not None and config.platform.os and config.platform.architecture:
            platform = config.platform
        stage = self._new(plan, origin, platform)
        stage.steps = 1
        if origin.op is not None:
            self._begin(stage, origin, plan.stage.base.source.range)
        return stage

    def _new(self, plan: Plan, origin: Origin, platform: Platform) -> Building:
        config = origin.config.child() if origin.config else empty_config(platform)
        scope = Scope(self._request.dockerfile.escape, self._notes)
        return Building(plan.name, config, scope, self._vertices, platform)

    def _begin(self, stage: Building, origin: Origin, place: Range) -> None:
        """Give the stage the files of its origin."""
        lines = Lines(*place.lines)
        if isinstance(origin.op, ImageOp):
            line = f"FROM {origin.label}"
            vertex = Vertex(origin.op, (), stage.step_name(line), lines)
        else:
            # Files that are no image become its first layer.
            line = origin.label
            inputs = (
                self._vertices.scratch(stage.platform),
                self._origins.vertex(origin, stage.platform, place),
            )
            op = FileOp((CopyAction(1, "/", "/", literal=True),))
            vertex = Vertex(op, inputs, stage.step_name(line), lines)
        stage.root = self._vertices.add(vertex)
        stage.layers.append(LayerOutput(stage.root, line, COMMENT))

    def _triggers(self, texts: tuple[str, ...] | list[str], plan: Plan) -> list[Instruction]:
        if not texts:
            return []
        escape = self._request.dockerfile.escape
        found = read_triggers(texts, plan.stage.base.source.range, escape, self._notes)
        for instruction in found:
            if isinstance(instruction, Arg):
                self._declared.update(name for name, _ in instruction.arguments)
        return found

    def _instruction(self, stage: Building, index: int, instruction: Instruction) -> None:
        """Lower one instruction; what is wrong with it is noted, and does not hide the next."""
        try:
            match instruction:
                case Copy():
                    lower_copy(stage, instruction, lambda: self._source(stage, index, instruction))
                case Run():
                    place = instruction.source.range
                    lower_run(
                        stage,
                        instruction,
                        self._request,
                        lambda name: self._mounted(stage, index, name, place),
                    )
                case Workdir():
                    lower_workdir(stage, instruction)
                case _:
                    lower_metadata(stage, instruction, self._request.build_args, self._globals)
        except BadValue as wrong:
            self._notes.fail(wrong.at(instruction.source.range))
        except Problems as wrong:
            for problem in wrong.problems:
                self._notes.fail(problem)

    def _source(self, stage: Building, index: int, instruction: Copy) -> int:
        """What a COPY of stage `index` reads: the build context, or what `--from` names."""
        name = instruction.from_
        if not name:
            return self._origins.context()
        found = self._stages.find(name)
        if found is None:
            return self._image(name, instruction.source.range)
        return self._other(stage, index, found, name)

    def _mounted(self, stage: Building, index: int, name: str, place: Range) -> int:
        """What a mount of stage `index` names in `from=`."""
        if not name:
            return self._origins.context()
        found = self._stages.find_name(name)
        if found is None:
            return self._image(name, place)
        return self._other(stage, index, found, name)

    def _other(self, stage: Building, index: int, found: int, name: str) -> int:
        """The files of another stage, which must stand before this one."""
        if found == index and stage.triggered:
            # A trigger may name the stage that it runs in: what is there so far.
            return stage.root_vertex()
        if found >= index:
            if found == index:
                raise BadValue(f"stage {name} would need itself", "name another stage")
            hint = "move it before the stage that needs it"
            raise BadValue(f"stage {name} stands after the one that needs it", hint)
        return self.stage(found).root_vertex()

    def _image(self, name: str, place: Range) -> int:
        """The files of an image that no stage begins with."""
        origin = self._origins.image(name, self._platform, place)
        return self._origins.vertex(origin, self._platform, place)


def _count(instructions: tuple[Instruction, ...]) -> int:
    """How many of them are steps that the user sees."""
    return sum(isinstance(instruction, Copy | Run | Workdir) for instruction in instructions)
