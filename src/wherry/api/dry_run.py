# SPDX-License-Identifier: Apache-2.0
"""`--dry-run`: the images that a build would make, and what of them is there already.

Nothing is compiled, run, exported or pushed, and no layer is downloaded. Bases are looked up, and
what that gives (manifests, configs, what a tag means) stays in the store; Go is asked which
packages there are.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import NamedTuple

from wherry.api.building import check_request, find_verdict
from wherry.api.recorded import directory_of
from wherry.api.registries import Registries, RegistryAround
from wherry.api.request import BuildRequest, ImageFailure
from wherry.engines.local.dry import Fate, Planned
from wherry.events import Level, Message, Sink
from wherry.graph.build import BuildGraph
from wherry.graph.ops import ExecOp, FileOp, GoBuildOp
from wherry.process.cancel import CancelToken
from wherry.store.store import Store, open_store


class PlannedStep(NamedTuple):
    """A step; `fate` is a word of `wherry.engines.local.dry.Fate`, `why` is for people.

    `image` is the one that the step is for where a build makes several; empty for what is shared.
    """

    name: str
    fate: str
    why: str = ""
    image: str = ""


class PlannedImage(NamedTuple):
    """An image that would be built, by its tags and platforms."""

    name: str
    tags: tuple[str, ...]
    platforms: tuple[str, ...]
    outputs: tuple[str, ...] = ()


class BuildPlan(NamedTuple):
    """What a build would do: nothing at all where `steps` are empty, for the `reason`.

    `failures` are images that cannot be, as a build finds before anything runs.
    """

    images: tuple[PlannedImage, ...]
    steps: tuple[PlannedStep, ...]
    reason: str
    failures: tuple[ImageFailure, ...] = ()


def plan_build(request: BuildRequest, sink: Sink, cancel: CancelToken) -> BuildPlan:
    """Plan the build of `request`; raises what finding it out raises, as a build does."""
    frontend = check_request(request)
    directory, _ = directory_of(request)
    around = RegistryAround(
        request.store, request.env, request.cwd, request.ca, sink, cancel, request.registries
    )
    with (
        Registries(around, directory, project=not request.foreign) as registries,
        open_store(request.store, sink=sink) as store,
    ):
        if frontend == "dockerfile":
            return _dockerfile(request, store, registries)
        return _go(request, store, registries)


def _dockerfile(request: BuildRequest, store: Store, registries: Registries) -> BuildPlan:
    from wherry.api.dockerfiles import dry_image  # noqa: PLC0415 - heavy
    from wherry.api.settled import find_settled  # noqa: PLC0415 - not for Go modules

    if not request.no_cache and (kept := find_settled(request, store, registries.around.cancel)):
        image = PlannedImage(
            kept.name, request.tags or (kept.default_tag,), (kept.platform,), _outputs(request)
        )
        return BuildPlan((image,), (), "nothing changed since the last build")
    with ExitStack() as closing:
        name, graph, planned = dry_image(request, store, registries, closing)
    image = PlannedImage(
        name, request.tags or (f"{name}:latest",), (str(graph.image.platform),), _outputs(request)
    )
    return BuildPlan((image,), _steps(graph, planned), "")


def _outputs(request: BuildRequest) -> tuple[str, ...]:
    """Where images would go besides the store, in the flags' words."""
    flags = (("--push", request.push), ("--load", request.load))
    return (*request.outputs, *(flag for flag, is_given in flags if is_given))


def _go(request: BuildRequest, store: Store, registries: Registries) -> BuildPlan:
    from wherry.api.making import Preparation  # noqa: PLC0415 - heavy

    around = registries.around
    verdict = find_verdict(request, store, around)
    if verdict.record is not None:
        images = tuple(
            PlannedImage(
                output.name,
                request.tags or output.tags or (output.default_tag,),
                tuple(output.platform.split(",")),
                _outputs(request),
            )
            for output in verdict.record.outputs
        )
        return BuildPlan(images, (), "nothing changed since the last build")
    prepared = Preparation(request, verdict, store, registries)
    plan, maker = prepared.plan, prepared.maker
    steps: list[PlannedStep] = []
    for graph, planned in maker.dry():
        steps += _steps(graph, planned, verdict.reason)
    steps += (PlannedStep(name, str(Fate.MAY_RUN), why) for name, why in maker.undecided.items())
    for wish in plan.wishes:
        if wish.asked.cgo and wish.asked.libc_base:
            text = f"{wish.name}: if it needs a C library, it moves to {wish.asked.libc_base}"
            around.sink(Message(Level.INFO, text))
    failures = prepared.failures
    failed = {failure.name for failure in failures}
    if failures and all(wish.name in failed for wish in plan.wishes):
        prepared.raise_failures()
    images = tuple(
        PlannedImage(
            wish.name,
            request.tags or wish.asked.tags or (wish.default_tag,),
            tuple(map(str, wish.asked.platforms)),
            _outputs(request),
        )
        for wish in plan.wishes
        if wish.name not in failed
    )
    return BuildPlan(images, tuple(steps), verdict.reason, failures)


def _steps(
    graph: BuildGraph, planned: tuple[Planned, ...], reason: str = ""
) -> tuple[PlannedStep, ...]:
    """The plan of a graph; `reason` is why Go runs."""
    lanes = graph.lanes()
    steps: dict[tuple[str, str], PlannedStep] = {}
    for item in planned:
        vertex = graph.vertices[item.vertex]
        why = reason if reason and isinstance(vertex.op, GoBuildOp) else item.why
        step = PlannedStep(vertex.name, str(item.fate), why, lanes[item.vertex])
        # An instruction may be several vertices: what it fetches, the copy, a layer put on a root.
        name = (step.image, step.name)
        if name not in steps or isinstance(vertex.op, FileOp | ExecOp):
            steps[name] = step
    return tuple(steps.values())
