# SPDX-License-Identifier: Apache-2.0
"""Making an image where no record answers: the composition root of a Go build.

Finds the toolchain, asks it, lowers the module to a graph, runs the graph on the local engine and
writes the build record. Everything heavy is imported here, off the no-change path.
"""

from __future__ import annotations

import calendar
import os
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from wherry.api.asked import Asked, ask
from wherry.api.recorded import (
    NO_INPUTS,
    BuildRecord,
    Output,
    codec,
    encode_records,
    kept_records,
    request_key,
)
from wherry.api.request import BinaryResult, BuildRequest
from wherry.api.stamp import NO_STAMP, Stamp, read_stamp
from wherry.api.unchanged import Verdict
from wherry.bases import compose
from wherry.bases.data import data_files
from wherry.bases.static import static_data_versions
from wherry.engines.local.engine import LocalEngine, Solved
from wherry.engines.local.storage import LayerSettings
from wherry.errors import UsageError, WherryError
from wherry.events import Level, Message, Sink
from wherry.frontends.gomodule.lower import GoImage, lower
from wherry.fstree.layer import Compression
from wherry.golang.closure import World
from wherry.golang.command import GoTool
from wherry.golang.environment import build_environment, overlay
from wherry.golang.facts import query_go, require_version
from wherry.golang.flags import (
    STAMP_FULL,
    BuildSettings,
    build_flags,
    flag_value,
    split_goflags,
)
from wherry.golang.mains import MainPackage, Place, find_mains, locate, one_main
from wherry.golang.record import Memo, first_change
from wherry.golang.toolchain import GoFacts, find_go
from wherry.graph.ops import ComposedBase
from wherry.oci.digest import parse_digest
from wherry.oci.image import Pairs, RunConfig, pairs
from wherry.process.cancel import CancelToken
from wherry.store.store import Store

_RFC3339 = "%Y-%m-%dT%H:%M:%SZ"


class _Go(NamedTuple):
    """The toolchain in force for one build."""

    tool: GoTool
    facts: GoFacts
    flags: tuple[str, ...]
    overlay: Pairs


def make_record(
    request: BuildRequest, verdict: Verdict, store: Store, sink: Sink, cancel: CancelToken
) -> BuildRecord:
    """Build, and give the record of it; it is stored where all inputs are clear."""
    place = locate(request.cwd, request.source)
    asked = ask(request, place.directory)
    if asked.package:
        place = Place(os.path.dirname(asked.settings_path), asked.package)
    stamp = NO_STAMP
    if asked.stamp != "off":
        stamp = read_stamp(place.directory, request.env, cancel)
        asked = _stamped(asked, stamp, sink)
    go = _prepare_go(request, asked, place, sink, cancel)
    known = _known_main(verdict, request.env)
    main = known or _find_main(go, place, cancel)
    request.trace("main-found")
    created = _created(asked, stamp)
    image = _go_image(asked, go, place, main, _Facts(stamp, created))
    engine = LocalEngine(
        storage=store,
        settings=LayerSettings(
            Compression(level=asked.compression_level), request.jobs or _cores(), codec()
        ),
        world=_world(request, asked, go),
        mtime=_seconds(created),
        jobs=request.jobs or _cores(),
        use_cache=not request.no_cache,
        sink=sink,
        cancel=cancel,
        trace=request.trace,
    )
    try:
        solved = engine.solve(lower(image))
    except WherryError:
        # A main package known from a record may be none any more: then say that.
        if known is not None:
            _find_main(go, place, cancel)
        raise
    return _recorded(request, verdict, store, solved, _Named(asked, main, stamp.words))


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


class _Named(NamedTuple):
    """What a record says besides the engine's result."""

    asked: Asked
    main: MainPackage
    words: str


def _prepare_go(
    request: BuildRequest, asked: Asked, place: Place, sink: Sink, cancel: CancelToken
) -> _Go:
    def on_line(line: str) -> None:
        sink(Message(Level.INFO, line))

    command = find_go(request.env)
    on_top = overlay(command, asked.platform, cgo=asked.cgo)
    tool = GoTool(command, place.directory, _environment(request.env, on_top, place))
    facts = query_go(command, place.directory, tool.env, cancel, on_line)
    if asked.go_version:
        wanted = require_version(facts, asked.go_version)
        on_top = overlay(command, asked.platform, cgo=asked.cgo, toolchain=wanted)
        tool = tool._replace(env=_environment(request.env, on_top, place))
        facts = query_go(command, place.directory, tool.env, cancel, on_line)
    _refuse_libraries(facts.goflags)
    flags = build_flags(facts.goflags, BuildSettings(asked.stamp, asked.ldflags, asked.build_tags))
    request.trace("go-asked")
    return _Go(tool, facts, flags, on_top)


def _refuse_libraries(goflags: str) -> None:
    mode = flag_value(split_goflags(goflags), "buildmode")
    if mode in ("archive", "c-archive", "c-shared", "plugin", "shared"):
        raise UsageError(f"-buildmode={mode} makes no program", why="it is set in GOFLAGS",
                         hint="take it out for this build: go env GOFLAGS")  # fmt: skip


def _environment(env: Mapping[str, str], on_top: Pairs, place: Place) -> dict[str, str]:
    return build_environment(env, on_top, place.directory)


def _known_main(verdict: Verdict, env: Mapping[str, str]) -> MainPackage | None:
    """The main package of the last build, if nothing changed but the text of Go files."""
    if not verdict.records:
        return None
    last = verdict.records[0]
    # go.mod, go.work, wherry.toml and the flags all have a say in which package is meant.
    others = {path: now for path, now in last.inputs.files.items() if not path.endswith(".go")}
    inputs = last.inputs._replace(files=others, large={}, modules={}, all_names={})
    if first_change(inputs, env, Memo()):
        return None
    return MainPackage(last.package, last.output.binaries[0].name, "")


def _find_main(go: _Go, place: Place, cancel: CancelToken) -> MainPackage:
    found = find_mains(go.tool.go, place.directory, place.pattern, go.flags, go.tool.env, cancel)
    return one_main(found, place.pattern)


def _go_image(asked: Asked, go: _Go, place: Place, main: MainPackage, facts: _Facts) -> GoImage:
    labels = {**dict(facts.stamp.labels), **dict(asked.run.labels)}
    versions = static_data_versions() if asked.base is ComposedBase.STATIC else ()
    variables = compose.base_environment(asked.base)
    return GoImage(
        name=main.name,
        title=asked.name,
        directory=place.directory,
        import_path=main.import_path,
        platform=asked.platform,
        flags=go.flags,
        environment=go.overlay,
        go_version=go.facts.version,
        base=asked.base,
        base_run=RunConfig(
            user=compose.base_user(asked.base),
            env=tuple(f"{name}={value}" for name, value in variables),
        ),
        data_versions=versions,
        created=facts.created,
        run=replace(asked.run, labels=pairs(labels)),
        annotations=pairs({**dict(facts.stamp.labels), **dict(asked.annotations)}),
    )


def _world(request: BuildRequest, asked: Asked, go: _Go) -> World:
    files: list[str] = []
    absent: list[str] = []
    (files if asked.settings_exist else absent).append(asked.settings_path)
    source = os.path.normpath(os.path.join(request.cwd, request.source))
    if request.frontend == "auto" and os.path.isdir(source):
        dockerfile = os.path.join(source, "Dockerfile")
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


def _recorded(
    request: BuildRequest, verdict: Verdict, store: Store, solved: Solved, named: _Named
) -> BuildRecord:
    image = solved.image
    descriptors = (image.descriptor, image.manifest.config, *image.manifest.layers)
    blobs = tuple((str(item.digest), item.size) for item in descriptors)
    go_layer = solved.layers[-1]
    name = named.asked.name or named.main.name
    output = Output(
        name=name,
        tags=named.asked.tags or (f"{_repository(name)}:latest",),
        manifest=str(image.digest),
        manifest_size=len(image.manifest_bytes),
        config=str(image.manifest.config.digest),
        blobs=blobs,
        size=sum(item.size for item in descriptors),
        unpacked=sum(layer.unpacked for layer in solved.layers),
        platform=str(image.config.platform),
        binaries=tuple(BinaryResult(*binary) for binary in go_layer.binaries),
        warnings=go_layer.warnings,
    )
    # A pattern means other packages as soon as a directory is added anywhere below it.
    pattern = named.asked.package or request.source
    inputs = None if "..." in pattern or pattern == "all" else go_layer.inputs
    record = BuildRecord(inputs or NO_INPUTS, output, named.words, named.main.import_path)
    if inputs is not None:
        request.trace("record-unwritten")
        _write(request, verdict, store, record)
        request.trace("record-written")
    return record


def _write(request: BuildRequest, verdict: Verdict, store: Store, record: BuildRecord) -> None:
    """Store the record with those before it; it keeps the blobs of all that are still whole."""
    kept = kept_records(record, verdict.records)
    digests = {parse_digest(digest) for item in kept for digest, _ in item.output.blobs}
    store.records.put(
        "gobuild",
        request_key(request),
        encode_records(kept),
        tuple(digest for digest in sorted(digests) if store.blobs.has(digest)),
    )


def _created(asked: Asked, stamp: Stamp) -> str:
    """SOURCE_DATE_EPOCH, else the commit's time where stamped, else 1970."""
    if asked.epoch is None and stamp.created:
        return stamp.created
    return time.strftime(_RFC3339, time.gmtime(asked.epoch or 0))


def _seconds(created: str) -> int:
    return calendar.timegm(time.strptime(created, _RFC3339))


def _repository(name: str) -> str:
    """A program's name as a repository's: lower case, one separator at a time."""
    cleaned = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return cleaned or "image"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
