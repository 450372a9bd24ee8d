# SPDX-License-Identifier: Apache-2.0
"""The images of a plan: one graph of all programs, then each image on a base that can run it.

What fails for one image (a base that cannot be had, a program that does not compile) leaves the
others as they are.
"""

from __future__ import annotations

import calendar
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from wherry.api.asked import Asked
from wherry.api.base_files import BaseReader
from wherry.api.distinct_platforms import distinct_platforms
from wherry.api.fitness import check_base, check_stamp
from wherry.api.ground import Ground, Grounds, needs_libc
from wherry.api.image_contents import Contents
from wherry.api.image_files import ImageFiles
from wherry.api.image_outputs import Made, MadePlatform, make_index
from wherry.api.naming import cores
from wherry.api.planning import Plan, Wish
from wherry.api.port_warnings import low_ports, rare_capabilities
from wherry.api.prepare import GoInForce, Toolchains
from wherry.api.recorded import codec
from wherry.api.registries import Registries
from wherry.api.request import BuildRequest, ImageFailure
from wherry.api.stamp import NO_STAMP, Stamp
from wherry.api.user_checks import check_user
from wherry.bases.data import data_files
from wherry.engines.local.dry import Planned
from wherry.engines.local.engine import LocalEngine, Solved
from wherry.engines.local.gobuild import GoExecutors
from wherry.engines.local.listening import GoListener
from wherry.engines.local.results import Result
from wherry.engines.local.storage import LayerSettings
from wherry.errors import BuildError, WherryError
from wherry.events import Level, Message
from wherry.frontends.gomodule.lower import (
    Compiling,
    GoImage,
    Program,
    lower,
    run_config,
)
from wherry.fstree.capabilities import parse as parse_capabilities
from wherry.fstree.compression import CompressionKind, compression
from wherry.golang.closure import World
from wherry.golang.compilers import require_compiler
from wherry.golang.flags import STAMP_FULL, split_goflags
from wherry.golang.record import Inputs
from wherry.golang.variants import image_platform
from wherry.graph.build import BuildGraph
from wherry.graph.ops import GoBuildOp
from wherry.oci.image import Pairs, pairs
from wherry.oci.platform import Platform
from wherry.store.store import Store

_RFC3339 = "%Y-%m-%dT%H:%M:%SZ"


class _Part(NamedTuple):
    """One platform of one image on its way."""

    wish: Wish
    platform: Platform
    ground: Ground
    image: GoImage
    stamp_labels: Pairs


class ImageMaker:
    """Makes the images of one plan, once."""

    def __init__(
        self,
        request: BuildRequest,
        store: Store,
        registries: Registries,
        toolchains: Toolchains,
        plan: Plan,
        listener: GoListener | None = None,
    ) -> None:
        self._listener = listener
        self._request = request
        self._store = store
        self._registries = registries
        self._toolchains = toolchains
        self._plan = plan
        self._failures: dict[Wish, ImageFailure] = {}
        self._worlds: dict[Compiling, World] = {}
        self._grounds: dict[tuple[object, ...], Ground] = {}
        self._told: set[str] = set()
        self._moved: dict[_Part, Ground] = {}
        self._contents = Contents(BaseReader(store, registries), registries.around.cancel.check)

    @property
    def read_before(self) -> tuple[str, ...]:
        """Files that were read before Go began, to be compared afterwards."""
        paths = dict.fromkeys(
            path for files in self._contents.chosen.values() for path in files.paths
        )
        for world in self._worlds.values():
            others = (*world.extra_files, *world.extra_absent, *world.extra_tools)
            paths |= dict.fromkeys((*others, *_go_files(world)))
        return tuple(paths)

    def make(self) -> tuple[Made, ...]:
        """The images that could be made, in the plan's order; the others are in `failures`."""
        parts = self._parts()
        settings = {part: self._settings(part.wish.asked) for part in parts}
        solved: dict[_Part, Solved] = {}
        for one in dict.fromkeys(settings.values()):
            solved |= self._solved([part for part in parts if settings[part] == one], one)
        return tuple(
            self._made(wish, parts, solved)
            for wish in self._plan.wishes
            if wish not in self._failures
        )

    def dry(self) -> tuple[tuple[BuildGraph, tuple[Planned, ...]], ...]:
        """The graphs of all images, and what would become of their vertices.

        What cannot be said without the layers of a base is in `undecided`.
        """
        self._contents.bases = BaseReader(self._store, self._registries, is_plan=True)
        parts = self._parts()
        settings = {part: self._settings(part.wish.asked) for part in parts}
        found: list[tuple[BuildGraph, tuple[Planned, ...]]] = []
        for one in dict.fromkeys(settings.values()):
            graph = lower([part.image for part in parts if settings[part] == one])
            found.append((graph, self._engine(one).dry(graph)))
        return tuple(found)

    @property
    def undecided(self) -> Mapping[str, str]:
        """Steps of a plan that only a build can decide on, with the reason."""
        return self._contents.undecided

    @property
    def failures(self) -> tuple[ImageFailure, ...]:
        """The images that failed so far."""
        return tuple(self._failures.values())

    def _parts(self) -> list[_Part]:
        """All platforms of all images; what cannot be prepared is noted as failed."""
        parts: list[_Part] = []
        for wish in self._plan.wishes:
            try:
                self._contents.choose(wish)
                parts += [self._part(wish, platform) for platform in self._platforms(wish)]
            except WherryError as error:
                self._fail(wish, error)
        return parts

    def _platforms(self, wish: Wish) -> tuple[Platform, ...]:
        def variables_of(platform: Platform) -> Mapping[str, str]:
            return self._toolchains.of(wish.asked, platform, wish.directory).facts.all

        return distinct_platforms(wish.asked.platforms, variables_of)

    def _fail(self, wish: Wish, error: WherryError) -> None:
        self._failures.setdefault(wish, ImageFailure(wish.name, error))

    def _made(self, wish: Wish, parts: Sequence[_Part], solved: dict[_Part, Solved]) -> Made:
        own = [part for part in parts if part.wish is wish]
        platforms = tuple(
            MadePlatform(solved[part], self._moved.get(part, part.ground)) for part in own
        )
        index = None
        if len(platforms) > 1:
            index = make_index(platforms)
            self._store.blobs.put(index.encoded())
        lines = [line for item in platforms for layer in item.solved.layers
                 for line in layer.warnings]  # fmt: skip
        lines = [*wish.pins.warnings, *lines, *_warnings_of(own)]
        files = self._contents.chosen.get(wish)
        return Made(
            wish,
            platforms,
            index,
            _file_inputs(files) if files is not None else None,
            tuple(dict.fromkeys(filter(None, lines))),
        )

    def _part(self, wish: Wish, platform: Platform) -> _Part:
        asked, around, contents = wish.asked, self._registries.around, self._contents
        go = self._toolchains.of(asked, platform, wish.directory)
        stamp = NO_STAMP
        if asked.stamp != "off":
            stamp = self._plan.stamps[asked.root]
            if asked.stamp == STAMP_FULL:
                stamp = stamp.for_binary(go.facts.version)
            asked = self._stamped(asked, stamp)
            go = self._toolchains.of(asked, platform, wish.directory)
        if asked.cgo:
            require_compiler(go.facts.all, platform, go.tool.env, around.cancel)
        platform = image_platform(platform, go.facts.all)
        created = _created(asked, stamp)
        ground = self._ground(wish, platform)
        # Where the program turns out to want a C library, its base is another one.
        if not asked.libc_base:
            check_user(asked.run.user, ground, contents.bases.of, contents.chosen[wish])
        mtime = _seconds(created)
        files = contents.first_files(wish, platform, ground, mtime)
        compiling = Compiling(
            directory=wish.directory,
            platform=platform,
            flags=go.flags,
            environment=go.overlay,
            go_version=go.facts.version,
            # With a base for such programs at hand, a dynamic one is no error yet.
            dynamic_allowed=ground.has_libc or bool(asked.libc_base),
            mtime=mtime,
            place=contents.place(ground, files),
        )
        self._worlds[compiling] = self._world(go)
        facts = stamp.labels
        granted = parse_capabilities(asked.capabilities)
        image = GoImage(
            programs=tuple(Program(main.import_path, main.name, granted) for main in wish.mains),
            compiling=compiling,
            base=ground.base,
            base_run=ground.run,
            data_versions=ground.data_versions,
            created=created,
            run=replace(
                asked.run,
                env=(*contents.chosen[wish].env, *asked.run.env),
                labels=pairs({**dict(facts), **dict(asked.run.labels)}),
            ),
            annotations=pairs({**dict(facts), **dict(asked.annotations)}),
            title=asked.name,
            lane=wish.name if self._plan.makes_several else "",
            files=files,
        )
        return _Part(wish, platform, ground, image, facts)

    def _stamped(self, asked: Asked, stamp: Stamp) -> Asked:
        """What was asked for, as far as git can give it; the user is told what it cannot."""
        full = asked.stamp == STAMP_FULL
        for line in (stamp.note, stamp.binary_note if full else ""):
            if line and line not in self._told:
                self._told.add(line)
                self._registries.around.sink(Message(Level.WARNING, line))
        # `go build -buildvcs=true` fails where git does; a stamp is no reason to fail a build.
        return asked._replace(stamp="labels") if full and not stamp.go_stamps else asked

    def _ground(self, wish: Wish, platform: Platform, *, libc: bool = False) -> Ground:
        asked = wish.asked
        key = (asked.libc_base if libc else asked.base, platform, asked.root)
        if key not in self._grounds:
            grounds = Grounds(self._store, self._registries, wish.pins.policy, asked, platform)
            self._grounds[key] = grounds.for_libc() if libc else grounds.first()
        return self._grounds[key]

    def _world(self, go: GoInForce) -> World:
        files = self._plan.files
        return World(
            tool=go.tool,
            facts=go.facts,
            user_env=self._request.env,
            flags=(*split_goflags(go.facts.goflags), *go.flags),
            extra_files=files.present,
            extra_absent=files.absent,
            extra_tools=data_files(),
        )

    def _settings(self, asked: Asked) -> LayerSettings:
        request = self._request
        kind = CompressionKind(asked.compression)
        writer = codec()
        if kind is CompressionKind.ZSTD:
            from wherry.fstree.zstd_writer import library  # noqa: PLC0415 - only where asked for

            writer = library()
        return LayerSettings(
            compression(kind, asked.compression_level),
            request.jobs or cores(),
            writer,
            not request.no_cache,
        )

    def _solved(self, parts: Sequence[_Part], settings: LayerSettings) -> dict[_Part, Solved]:
        """The parts that could be made, in the store where their whole image can be one."""
        engine = self._engine(settings)
        answers = _answers(engine, parts)
        solved: dict[_Part, Solved] = {}
        moving: list[tuple[_Part, Solved]] = []
        for part, answer in zip(parts, answers, strict=True):
            if isinstance(answer, WherryError):
                self._fail(part.wish, answer)
            elif needs_libc(answer, part.ground):
                moving.append((part, answer))
            elif (part.wish, part.platform) in self._contents.unfit:
                self._fail(part.wish, self._contents.unfit[part.wish, part.platform])
            else:
                solved[part] = answer
        for part, answer in moving:
            self._move(engine, part, answer, solved)
        for part in tuple(solved):
            try:
                self._check(part, solved[part])
            except WherryError as error:
                self._fail(part.wish, error)
        # Only now are there images: one that could not run never was one, not even without a tag.
        for part, answer in solved.items():
            if part.wish not in self._failures:
                engine.keep(answer)
        return solved

    def _check(self, part: _Part, solved: Solved) -> None:
        """Raise where the image contradicts itself, or could not run."""
        check_stamp(solved, part.stamp_labels, part.wish.asked.run.labels)
        ground = self._moved.get(part, part.ground)
        check_base(solved, ground, self._contents.bases, self._store)

    def _move(
        self, engine: LocalEngine, part: _Part, answer: Solved, solved: dict[_Part, Solved]
    ) -> None:
        """Put a program that needs a C library on the base that has one."""
        try:
            ground = self._ground(part.wish, part.platform, libc=True)
            compiling = part.image.compiling
            # Names of owners mean other ids there.
            files = self._contents.files(part.wish, ground, compiling.mtime)
            place = self._contents.place(ground, files)
            image = replace(
                part.image,
                compiling=replace(compiling, place=place),
                base=ground.base,
                base_run=ground.run,
                data_versions=ground.data_versions,
                files=files,
            )
            graph = lower([image])
            made = _programs(graph, answer) if place == compiling.place else None
            solved[part] = engine.solve_one(graph, made)
        except WherryError as error:
            self._fail(part.wish, error)
            return
        self._moved[part] = ground

    def _engine(self, settings: LayerSettings) -> LocalEngine:
        request, around = self._request, self._registries.around
        worlds = {
            (one.directory, one.flags, one.environment): world
            for one, world in self._worlds.items()
        }

        def world_of(op: GoBuildOp) -> World:
            return worlds[op.directory, op.flags, op.environment]

        return LocalEngine(
            storage=self._store,
            settings=settings,
            executors=GoExecutors(world_of, self._store, settings, request.trace, self._listener),
            jobs=request.jobs or cores(),
            programs=0,
            sink=around.sink,
            cancel=around.cancel,
            trace=request.trace,
        )


def _answers(engine: LocalEngine, parts: Sequence[_Part]) -> Sequence[Solved | WherryError]:
    """What the engine makes of each part; one whose programs fail does not stop the others."""
    try:
        return engine.solve(lower([part.image for part in parts]))
    except BuildError as error:
        if len(parts) == 1:
            return (error,)
    # Programs that are compiled in different ways do not share a command: each by itself then.
    answers: list[Solved | WherryError] = []
    for part in parts:
        answers += _answers(engine, (part,))
    return answers


def _warnings_of(parts: Sequence[_Part]) -> tuple[str, ...]:
    """What will not work where the image runs."""
    image = parts[0].image
    granted = image.programs[0].capabilities
    return low_ports(run_config(image), granted), rare_capabilities(granted)


def _file_inputs(files: ImageFiles) -> Inputs:
    found = files.inputs()
    return Inputs(
        files=found.files,
        large=found.large,
        modules={},
        tools={},
        absent=list(found.absent),
        go_names={},
        all_names=found.all_names,
        lookups={},
        environment={},
        marks=found.marks,
        leads=found.leads,
    )


def _programs(graph: BuildGraph, solved: Solved) -> dict[int, Result]:
    """What was built already, for the vertices that would build it again."""
    built = {layer.binaries[0].name: layer for layer in solved.layers if layer.binaries}
    made: dict[int, Result] = {}
    for number, vertex in enumerate(graph.vertices):
        if isinstance(vertex.op, GoBuildOp):
            own = [built[name] for name in vertex.op.names]
            made[number] = replace(
                own[0],
                layers=tuple(layer for one in own for layer in one.layers),
                binaries=tuple(binary for one in own for binary in one.binaries),
                unpacked=sum(one.unpacked or 0 for one in own),
            )
    return made


def _go_files(world: World) -> tuple[str, ...]:
    """What decided which Go runs, with which settings, in which module."""
    facts, command = world.facts, world.tool.go
    home = os.path.dirname(os.path.dirname(command.real_path))
    return (facts.goenv, facts.gomod, facts.gowork, command.path, os.path.join(home, "go.env"))


def _created(asked: Asked, stamp: Stamp) -> str:
    """SOURCE_DATE_EPOCH, else the commit's time where stamped, else 1970."""
    if asked.epoch is None and asked.stamp != "off" and stamp.created:
        return stamp.created
    return time.strftime(_RFC3339, time.gmtime(asked.epoch or 0))


def _seconds(created: str) -> int:
    return calendar.timegm(time.strptime(created, _RFC3339))
