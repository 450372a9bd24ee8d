# SPDX-License-Identifier: Apache-2.0
"""Making an image where no record answers: the composition root of a Go build.

Finds the toolchain, asks it, lowers the module to a graph, runs the graph on the local engine and
writes the build record. Everything heavy is imported here, off the no-change path.
"""

from __future__ import annotations

import calendar
import os
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import NamedTuple

from wherry.api.asked import Asked, ask
from wherry.api.delivery import nameless_push
from wherry.api.ground import Ground, Grounds, needs_libc, on_ground
from wherry.api.naming import cores, repository_name
from wherry.api.pins import read_pins
from wherry.api.prepare import GoInForce, find_main, known_main, prepare_go
from wherry.api.recorded import (
    NO_INPUTS,
    BuildRecord,
    Output,
    codec,
    directory_of,
    encode_records,
    kept_records,
    request_key,
)
from wherry.api.registries import Registries
from wherry.api.request import DOCKERFILES, BinaryResult, BuildRequest
from wherry.api.stamp import NO_STAMP, Stamp, read_stamp
from wherry.api.unchanged import Verdict
from wherry.bases.data import data_files
from wherry.engines.local.engine import LocalEngine, Solved
from wherry.engines.local.gobuild import GoExecutors
from wherry.engines.local.storage import LayerSettings
from wherry.errors import WherryError
from wherry.events import Level, Message, Sink
from wherry.frontends.gomodule.lower import GoImage, lower
from wherry.fstree.compression import Compression
from wherry.golang.closure import World, touched_since
from wherry.golang.flags import STAMP_FULL, split_goflags
from wherry.golang.mains import MainPackage, Place, locate
from wherry.graph.ops import ComposedBase, RegistryBase
from wherry.oci.digest import parse_digest
from wherry.oci.image import Descriptor, pairs
from wherry.process.cancel import CancelToken
from wherry.process.clock import file_clock_ns
from wherry.settings.lock import LOCK_NAME
from wherry.settings.user import user_settings_path
from wherry.store.store import Store

_RFC3339 = "%Y-%m-%dT%H:%M:%SZ"


class _Made(NamedTuple):
    """One try: the record, and what was read for it before Go began."""

    record: BuildRecord
    settings_files: _SettingsFiles
    read_before: tuple[str, ...]
    stamp: Stamp
    directory: str


def make_record(
    request: BuildRequest, verdict: Verdict, store: Store, registries: Registries
) -> BuildRecord:
    """Build, and give the record of it; it is stored where all inputs are clear.

    Settings and version-control facts are read before Go begins. If they changed by the end, the
    image is made again once; if they change again, it is used and not remembered.
    """
    changed = ""
    around = registries.around
    with ExitStack() as stack:
        for _ in range(2):
            began = file_clock_ns()
            made = _make(request, verdict, store, registries)
            changed = touched_since(made.read_before, began) or made.settings_files.removed()
            changed = changed or _moved_on(made, request, around.cancel)
            if not changed:
                break
            around.sink(Message(Level.INFO, f"{changed} changed while the build ran"))
            # These have read the settings, which may be what changed.
            registries = stack.enter_context(Registries(around, directory_of(request)[0]))
    if made.record.inputs is NO_INPUTS or changed:
        return made.record._replace(inputs=NO_INPUTS)
    request.trace("record-unwritten")
    _write(request, verdict, store, made.record)
    request.trace("record-written")
    return made.record


def _moved_on(made: _Made, request: BuildRequest, cancel: CancelToken) -> str:
    if made.stamp is NO_STAMP:
        return ""
    now = read_stamp(made.directory, request.env, cancel)
    return "" if now.words == made.stamp.words else "version control"


def _make(request: BuildRequest, verdict: Verdict, store: Store, registries: Registries) -> _Made:
    sink, cancel = registries.around.sink, registries.around.cancel
    place = locate(request.cwd, request.source)
    asked = ask(request, place.directory)
    settings_files = _settings_files(request, asked)
    _refuse_nameless_push(request, asked, registries)
    if asked.package:
        place = Place(os.path.dirname(asked.settings_path), asked.package)
    stamp = NO_STAMP
    if asked.stamp != "off":
        stamp = read_stamp(place.directory, request.env, cancel)
        asked = _stamped(asked, stamp, sink)
    pinned = read_pins(request, asked)
    asked = pinned.asked
    go = prepare_go(request, asked, place, sink, cancel)
    known = known_main(verdict, request.env)
    main = known or find_main(go, place, cancel)
    request.trace("main-found")
    created = _created(asked, stamp)
    grounds = Grounds(store, registries, pinned.policy, asked)
    ground = grounds.first()
    image = _go_image(asked, go, place, main, _Facts(stamp, created, ground))
    world = _world(request, asked, go, settings_files)
    settings = LayerSettings(
        Compression(level=asked.compression_level),
        request.jobs or cores(),
        codec(),
        not request.no_cache,
    )
    engine = LocalEngine(
        storage=store,
        settings=settings,
        executors=GoExecutors(world, _seconds(created), store, settings, request.trace),
        jobs=request.jobs or cores(),
        programs=0,
        sink=sink,
        cancel=cancel,
        trace=request.trace,
    )
    try:
        solved = engine.solve(lower(image))
    except WherryError:
        # A main package known from a record may be none any more: then say that.
        if known is not None:
            find_main(go, place, cancel)
        raise
    if needs_libc(solved, ground):
        ground = grounds.for_libc()
        graph = lower(on_ground(image, ground))
        # The program is the last layer of either graph, and the same.
        program = len(graph.vertices) - 1
        solved = engine.solve(graph, {program: solved.layers[-1]})
    record = _recorded(request, solved, _Named(asked, main, stamp.words, ground, pinned.warnings))
    others = (*world.extra_files, *world.extra_absent, *world.extra_tools)
    return _Made(record, settings_files, (*others, *_go_files(go)), stamp, place.directory)


def _refuse_nameless_push(request: BuildRequest, asked: Asked, registries: Registries) -> None:
    """Say before the build, not after it, that there is nothing to push to."""
    if request.push and not (request.tags or asked.tags or registries.settings.default):
        raise nameless_push()


def _go_files(go: GoInForce) -> tuple[str, ...]:
    """What decided which Go runs, with which settings, in which module."""
    facts, command = go.facts, go.tool.go
    home = os.path.dirname(os.path.dirname(command.real_path))
    return (facts.goenv, facts.gomod, facts.gowork, command.path, os.path.join(home, "go.env"))


def _stamped(asked: Asked, stamp: Stamp, sink: Sink) -> Asked:
    """What was asked for, as far as git can give it; the user is told what it cannot."""
    full = asked.stamp == STAMP_FULL
    for line in (stamp.note, stamp.binary_note if full else ""):
        if line:
            sink(Message(Level.WARNING, line))
    # `go build -buildvcs=true` fails where git does; a stamp is no reason to fail a build.
    return asked._replace(stamp="labels") if full and not stamp.go_stamps else asked


class _Facts(NamedTuple):
    stamp: Stamp
    created: str
    ground: Ground


class _Named(NamedTuple):
    """What a record says besides the engine's result."""

    asked: Asked
    main: MainPackage
    words: str
    ground: Ground
    warnings: tuple[str, ...]


def _go_image(
    asked: Asked, go: GoInForce, place: Place, main: MainPackage, facts: _Facts
) -> GoImage:
    labels = {**dict(facts.stamp.labels), **dict(asked.run.labels)}
    return GoImage(
        name=main.name,
        title=asked.name,
        directory=place.directory,
        import_path=main.import_path,
        platform=asked.platform,
        flags=go.flags,
        environment=go.overlay,
        go_version=go.facts.version,
        base=facts.ground.base,
        base_run=facts.ground.run,
        data_versions=facts.ground.data_versions,
        # With a base for such programs at hand, a dynamic one is no error yet.
        dynamic_allowed=facts.ground.has_libc or bool(asked.libc_base),
        created=facts.created,
        run=replace(asked.run, labels=pairs(labels)),
        annotations=pairs({**dict(facts.stamp.labels), **dict(asked.annotations)}),
    )


class _SettingsFiles(NamedTuple):
    """Files besides the module's that say what is built, by whether they were there to be read."""

    present: tuple[str, ...]
    absent: tuple[str, ...]

    def removed(self) -> str:
        """One that is gone by now, or the empty string: a removal leaves no time behind."""
        return next((path for path in self.present if not os.path.lexists(path)), "")


def _settings_files(request: BuildRequest, asked: Asked) -> _SettingsFiles:
    """To be called before the lock file and the user's settings are read."""
    # The lock file pins bases and Go; the user's own settings say what a base's name means.
    others = [os.path.join(os.path.dirname(asked.settings_path), LOCK_NAME)]
    if not isinstance(asked.base, ComposedBase) or asked.libc_base:
        others.append(user_settings_path(request.env))
    there = {path: os.path.exists(path) for path in filter(None, others)}
    there[asked.settings_path] = asked.settings_exist
    present = tuple(path for path, is_there in there.items() if is_there)
    return _SettingsFiles(present, tuple(path for path in there if path not in present))


def _world(request: BuildRequest, asked: Asked, go: GoInForce, settings: _SettingsFiles) -> World:
    files, absent = list(settings.present), list(settings.absent)
    # The settings are those of the nearest module: one that begins in between has its own.
    path, root = locate(request.cwd, request.source).directory, os.path.dirname(asked.settings_path)
    while path != root and path != os.path.dirname(path):
        absent.append(os.path.join(path, "go.mod"))
        path = os.path.dirname(path)
    source = os.path.normpath(os.path.join(request.cwd, request.source))
    if request.frontend == "auto" and os.path.isdir(source):
        for name in DOCKERFILES:
            dockerfile = os.path.join(source, name)
            (files if os.path.isfile(dockerfile) else absent).append(dockerfile)
    return World(
        tool=go.tool,
        facts=go.facts,
        user_env=request.env,
        flags=(*split_goflags(go.facts.goflags), *go.flags),
        extra_files=tuple(files),
        extra_absent=tuple(absent),
        extra_tools=data_files(),
    )


def _recorded(request: BuildRequest, solved: Solved, named: _Named) -> BuildRecord:
    image = solved.image
    descriptors = (image.descriptor, image.manifest.config, *image.manifest.layers)
    stands_on_image = isinstance(named.ground.base, RegistryBase)
    lazy = [layer.descriptor for layer in solved.layers[0].layers] if stands_on_image else []
    go_layer = solved.layers[-1]
    name = named.asked.name or named.main.name
    sizes = [layer.unpacked for layer in solved.layers]
    output = Output(
        name=name,
        tags=named.asked.tags,
        default_tag=f"{repository_name(name)}:latest",
        base=named.ground.watched,
        manifest=str(image.digest),
        manifest_size=len(image.manifest_bytes),
        config=str(image.manifest.config.digest),
        blobs=_sizes(item for item in descriptors if item not in lazy),
        lazy=_sizes(lazy),
        size=sum(item.size for item in descriptors),
        unpacked=None if None in sizes else sum(filter(None, sizes)),
        platform=str(image.config.platform),
        binaries=tuple(BinaryResult(*binary) for binary in go_layer.binaries),
        warnings=(*named.warnings, *go_layer.warnings),
    )
    # A pattern means other packages as soon as a directory is added anywhere below it.
    pattern = named.asked.package or request.source
    inputs = None if "..." in pattern or pattern == "all" else go_layer.inputs
    return BuildRecord(inputs or NO_INPUTS, output, named.words, named.main.import_path)


def _sizes(blobs: Iterable[Descriptor]) -> tuple[tuple[str, int], ...]:
    return tuple((str(item.digest), item.size) for item in blobs)


def _write(request: BuildRequest, verdict: Verdict, store: Store, record: BuildRecord) -> None:
    """Store the record with those before it; it keeps the blobs of all that are still whole."""
    kept = kept_records(record, verdict.records)
    blobs = (blob for item in kept for blob in (*item.output.blobs, *item.output.lazy))
    digests = {parse_digest(digest) for digest, _ in blobs}
    store.records.put(
        "gobuild",
        request_key(request),
        encode_records(kept),
        tuple(digest for digest in sorted(digests) if store.blobs.known(digest)),
    )


def _created(asked: Asked, stamp: Stamp) -> str:
    """SOURCE_DATE_EPOCH, else the commit's time where stamped, else 1970."""
    if asked.epoch is None and stamp.created:
        return stamp.created
    return time.strftime(_RFC3339, time.gmtime(asked.epoch or 0))


def _seconds(created: str) -> int:
    return calendar.timegm(time.strptime(created, _RFC3339))
