# SPDX-License-Identifier: Apache-2.0
"""The stages of a Dockerfile and how they lean on one another (Dockerfile reference, "FROM").

A stage leans on its base, and on what its COPY and RUN instructions name in `--from` and `from=`. A
name means the stage of that name, else an image. What is wrong here is found in all stages, also
in those that the target does not need.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from wherry.errors import UsageError, near
from wherry.frontends.dockerfile.fields import split_fields
from wherry.frontends.dockerfile.instructions import Copy, Instruction, Run, Stage
from wherry.frontends.dockerfile.notes import Notes
from wherry.frontends.dockerfile.refusals import BadValue, lower_case
from wherry.frontends.dockerfile.request import Request
from wherry.frontends.dockerfile.scope import Scope
from wherry.frontends.dockerfile.source import Problem, Range
from wherry.frontends.dockerfile.words import WordError, expand
from wherry.oci.platform import Platform, parse_platform
from wherry.oci.reference import parse_reference

SCRATCH: Final = "scratch"
# Names that are references, and their own familiar forms, without a closer look.
_SHORT: Final = re.compile(r"[a-z0-9]{1,100}(?:-[a-z0-9]{1,100})?")
# How many stages of a circle are named.
_SHOWN: Final = 10
_INDEX: Final = re.compile(r"[+-]?[0-9]{1,9}", re.ASCII)


class Plan(NamedTuple):
    """A stage with its FROM worked out.

    `base` is the stage below it, None for an image, which `image` names then. `platform` is what
    `--platform` says. `sources` are the stages that its instructions name.
    """

    stage: Stage
    name: str
    base: int | None
    image: str
    platform: Platform | None
    sources: frozenset[int] = frozenset()


class Stages:
    """All stages of a file; what is wrong with them is in `notes`."""

    def __init__(self, request: Request, scope: Scope, notes: Notes) -> None:
        self._notes = notes
        self._named: dict[str, int] = {}
        # Where a stage first names another.
        self._places: dict[tuple[int, int], Range] = {}
        self.plans: list[Plan] = []
        build = request.build_platform
        for stage in request.dockerfile.stages:
            self.plans.append(self._plan(stage, scope, build))
            if stage.base.name:
                self._named[stage.base.name] = stage.number
        # What is no stage counts as one in BuildKit, which then tells stages apart by names.
        others = self._find_sources()
        if len(self.plans) == 1 and not others:
            self.plans[0] = self.plans[0]._replace(name="")
        self._find_cycles()

    @property
    def names(self) -> tuple[str, ...]:
        """The names that stages have, in the order of the file."""
        return tuple(dict.fromkeys(plan.stage.base.name for plan in self.plans
                                   if plan.stage.base.name))  # fmt: skip

    def target(self, name: str) -> int:
        """The stage to build; raises `BadValue` naming those there are."""
        if not name:
            return len(self.plans) - 1
        found = self._named.get(lower_case(name))
        if found is None:
            raise BadValue(f"there is no stage {name!r}", self._choices(name))
        return found

    def find(self, name: str) -> int | None:
        """The stage that `--from` names, by name or number; None for an image.

        Raises `BadValue` for a number that no stage has.
        """
        if not _INDEX.fullmatch(name):
            return self.find_name(name)
        if not 0 <= int(name) < len(self.plans):
            last = len(self.plans) - 1
            raise BadValue(f"there is no stage {name}", f"stages count from 0: the last is {last}")
        return int(name)

    def find_name(self, name: str) -> int | None:
        """The stage that a RUN's mount names: there numbers are names of images."""
        return self._named.get(lower_case(name))

    def near(self, name: str) -> str:
        """A hint for a name that was taken for an image's, if a stage's is close."""
        return near(name, self.names)

    def described(self, index: int) -> str:
        """What messages call a stage."""
        return self.plans[index].stage.base.name or str(index)

    def sources_of(self, instruction: Instruction) -> Iterator[int | None]:
        """The stages that an instruction copies from or mounts, None for each that is none.

        Raises `BadValue`, also for what could be no image either.
        """
        if isinstance(instruction, Copy) and instruction.from_:
            check_unexpanded(instruction.from_)
            yield self._known(instruction.from_, self.find(instruction.from_))
        elif isinstance(instruction, Run) and (instruction.mounts or instruction.mount_texts):
            for name in _mount_sources(instruction):
                yield self._known(name or SCRATCH, self.find_name(name or SCRATCH))

    def _known(self, name: str, found: int | None) -> int | None:
        if found is None and name != SCRATCH:
            _check_reference(name, self.near)
        return found

    def _choices(self, name: str) -> str:
        listed = f"the stages are: {', '.join(self.names)}" if self.names else "no stage has a name"
        return f"{near(name, self.names)} {listed}".strip()

    def _plan(self, stage: Stage, scope: Scope, build: Platform) -> Plan:
        source = stage.base.source
        try:
            image = self._image(stage, scope)
            platform = self._platform(stage, scope, build)
            base = self._named.get(image)
            if base is None and image != SCRATCH:
                self._check_image(stage, image)
            if stage.base.name:
                _check_reference(stage.base.name)
        except BadValue as wrong:
            self._notes.fail(wrong.at(source.range))
            image, base, platform = SCRATCH, None, None
        return Plan(stage, stage.base.name or f"stage-{stage.number}", base, image, platform)

    @staticmethod
    def _image(stage: Stage, scope: Scope) -> str:
        image = scope.expand(stage.base.base, stage.base.source.range)
        if not image:
            hint = "give the ARG before the FROM a default"
            raise BadValue(f"the base {stage.base.base!r} expands to nothing", hint)
        return image

    def _check_image(self, stage: Stage, image: str) -> None:
        try:
            _check_reference(image, self.near)
        except BadValue as wrong:
            written = stage.base.base
            if written == image:
                raise
            hint = f"{written} stands there: give its ARG a value, or a default before the FROM"
            raise BadValue(wrong.message, hint) from None

    def _platform(self, stage: Stage, scope: Scope, build: Platform) -> Platform | None:
        written = stage.base.platform
        if not written:
            return None
        text = scope.expand(written, stage.base.source.range)
        if not text:
            missing = next(iter(re.findall(r"\w+", written)), "")
            hint = near(missing, tuple(scope.variables)) or "set it, or leave --platform out"
            raise BadValue(f"--platform={written} expands to nothing", hint)
        if text.lower() == build.os:
            return build
        try:
            return parse_platform(text)
        except UsageError as error:
            raise _as_value(error) from None

    def _find_sources(self) -> bool:
        """Fill in `sources`; gives whether any instruction names what is no stage."""
        others = False
        for index, plan in enumerate(self.plans):
            found = set[int]()
            for instruction in plan.stage.instructions:
                try:
                    for source in self.sources_of(instruction):
                        others = others or source is None
                        if source is not None:
                            found.add(source)
                            self._places.setdefault((index, source), instruction.source.range)
                except BadValue as wrong:
                    self._notes.fail(wrong.at(instruction.source.range))
            if found:
                self.plans[index] = plan._replace(sources=frozenset(found))
        return others

    def _find_cycles(self) -> None:
        """Tell of every circle of stages that copy from one another.

        Stages are taken away from the ends of the chains inwards; where none is left to take, there
        is a circle.
        """
        wanted = {index: set(plan.sources) for index, plan in enumerate(self.plans) if plan.sources}
        users: dict[int, list[int]] = {}
        for index, sources in wanted.items():
            for source in sources:
                users.setdefault(source, []).append(index)
        ends = [index for index in users if index not in wanted]
        while ends or wanted:
            if not ends:
                ends = _circle(wanted)
                self._tell_circle(ends)
                for index in ends:
                    del wanted[index]
            end = ends.pop()
            for user in users.get(end, ()):
                if user in wanted:
                    wanted[user].discard(end)
                    if not wanted[user]:
                        del wanted[user]
                        ends.append(user)

    def _tell_circle(self, circle: list[int]) -> None:
        names = [self.described(index) for index in circle]
        if len(names) == 1:
            message = f"stage {names[0]} needs itself"
        else:
            shown = [*names, names[0]] if len(names) <= _SHOWN else [*names[:_SHOWN], "..."]
            message = f"stages need each other: {' -> '.join(shown)}"
        place = self._places[circle[0], circle[1 % len(circle)]]
        self._notes.fail(Problem(message, place, "copy from a stage that stands before"))


def check_unexpanded(name: str) -> None:
    """Raise `BadValue` for a `--from` that a variable, quote or escape would change."""
    try:
        changed = expand(name, {}).text != name
    except WordError:
        changed = True
    if changed:
        raise BadValue(
            f"--from={name}: variables are not expanded there",
            "name the image by a stage of its own: FROM $IMAGE AS NAME, then --from=NAME",
        )


def familiar_name(image: str) -> str:
    """The name that a further context for this image has: as people write it, without `latest`.

    `docker.io/library/alpine:latest` -> `alpine`. Raises `UsageError` for what is no reference.
    """
    if _SHORT.fullmatch(image):
        return image
    return str(parse_reference(image)).removesuffix(":latest")


def _check_reference(image: str, near_stage: Callable[[str], str] | None = None) -> None:
    if _SHORT.fullmatch(image):
        return
    try:
        parse_reference(image)
    except UsageError as error:
        value = _as_value(error)
        hint = near_stage(image) if near_stage else ""
        raise BadValue(value.message, hint or value.hint) from None


def _as_value(error: UsageError) -> BadValue:
    return BadValue(f"{error.what}: {error.why}" if error.why else error.what, error.hint)


def _mount_sources(run: Run) -> Iterable[str]:
    """What the mounts name in `from=`, empty for those that name nothing."""
    if run.mounts:
        return [mount.from_ for mount in run.mounts]
    return [_from_field(text) for text in run.mount_texts]


def _from_field(text: str) -> str:
    found = ""
    for field in split_fields(text):
        key, _, value = field.partition("=")
        if key.lower() == "from":
            found = value
    return found


def _circle(edges: dict[int, set[int]]) -> list[int]:
    """A circle, following one edge from each; there is one if each has an edge to another."""
    path: dict[int, None] = {}
    at = min(edges)
    while at not in path:
        path[at] = None
        at = min(edges[at])
    circle = list(path)
    return circle[circle.index(at) :]
