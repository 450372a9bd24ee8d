# SPDX-License-Identifier: Apache-2.0
"""`--dry-run`: the images that a build would make, and what of them is there already.

Nothing is compiled, run, written or pushed. Bases are looked up, and Go is asked which packages
there are.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import NamedTuple

from wherry.api.building import check_request
from wherry.api.recorded import directory_of
from wherry.api.registries import Registries, RegistryAround
from wherry.api.request import BuildRequest
from wherry.api.unchanged import Verdict, ask_records
from wherry.engines.local.dry import Fate, Planned
from wherry.events import Level, Message, Sink
from wherry.graph.build import BuildGraph
from wherry.process.cancel import CancelToken
from wherry.store.store import Store, open_store


class PlannedStep(NamedTuple):
    """A step; `fate` is `runs`, `reused`, `is read` or `not needed`, `why` is for people."""

    name: str
    fate: str
    why: str = ""


class PlannedImage(NamedTuple):
    """An image that would be built, by its tags and platforms."""

    name: str
    tags: tuple[str, ...]
    platforms: tuple[str, ...]
    outputs: tuple[str, ...] = ()


class BuildPlan(NamedTuple):
    """What a build would do: nothing at all where `steps` are empty, for the `reason`."""

    images: tuple[PlannedImage, ...]
    steps: tuple[PlannedStep, ...]
    reason: str
    failures: tuple[str, ...] = ()


def plan_build(request: BuildRequest, sink: Sink, cancel: CancelToken) -> BuildPlan:
    """Plan the build of `request`; raises what finding it out raises, as a build does."""
    frontend = check_request(request)
    directory, _ = directory_of(request)
    around = RegistryAround(request.store, request.env, request.cwd, request.ca, sink, cancel)
    with (
        Registries(around, directory) as registries,
        open_store(request.store, sink=sink) as store,
    ):
        if frontend == "dockerfile":
            return _dockerfile(request, store, registries)
        return _go(request, store, registries)


def _dockerfile(request: BuildRequest, store: Store, registries: Registries) -> BuildPlan:
    from wherry.api.dockerfiles import dry_image  # noqa: PLC0415 - heavy
    from wherry.api.settled import find_settled  # noqa: PLC0415 - not for Go modules

    if not request.no_cache and (kept := find_settled(request, store, registries.around.cancel)):
        image = PlannedImage(kept.name, request.tags or (kept.default_tag,), (kept.platform,))
        return BuildPlan((image,), (), "nothing changed since the last build")
    with ExitStack() as closing:
        name, graph, planned = dry_image(request, store, registries, closing)
    image = PlannedImage(
        name, request.tags or (f"{name}:latest",), (str(graph.image.platform),), request.outputs
    )
    return BuildPlan((image,), _steps(graph, planned), "")


def _go(request: BuildRequest, store: Store, registries: Registries) -> BuildPlan:
    from wherry.api.making_images import ImageMaker  # noqa: PLC0415 - heavy
    from wherry.api.planning import make_plan  # noqa: PLC0415 - heavy
    from wherry.api.prepare import Toolchains, known_mains  # noqa: PLC0415 - as above

    around = registries.around
    verdict = Verdict(None, "--no-cache", [])
    if not request.no_cache:
        verdict = ask_records(request, store, around.cancel)
    if verdict.record is not None:
        images = tuple(
            PlannedImage(
                output.name,
                request.tags or output.tags or (output.default_tag,),
                tuple(output.platform.split(",")),
                request.outputs,
            )
            for output in verdict.record.outputs
        )
        return BuildPlan(images, (), "nothing changed since the last build")
    toolchains = Toolchains(request, around.sink, around.cancel)
    known = known_mains(verdict, request.env)
    plan = make_plan(request, toolchains, known, around.cancel)
    for note in plan.notes:
        around.sink(Message(Level.INFO, note))
    maker = ImageMaker(request, store, registries, toolchains, plan)
    steps: list[PlannedStep] = []
    for graph, planned in maker.dry():
        steps += _steps(graph, planned, verdict.reason)
    images = tuple(
        PlannedImage(
            wish.name,
            request.tags or wish.asked.tags or (wish.default_tag,),
            tuple(map(str, wish.asked.platforms)),
            request.outputs,
        )
        for wish in plan.wishes
    )
    failures = tuple(
        f"{failure.name}: {failure.error.what}" for failure in (*plan.failures, *maker.failures)
    )
    return BuildPlan(images, tuple(steps), verdict.reason, failures)


def _steps(
    graph: BuildGraph, planned: tuple[Planned, ...], reason: str = ""
) -> tuple[PlannedStep, ...]:
    return tuple(
        PlannedStep(
            graph.vertices[item.vertex].name,
            str(item.fate),
            (reason or item.why) if item.fate is Fate.RUNS else "",
        )
        for item in planned
    )
