# SPDX-License-Identifier: Apache-2.0
"""One build from request to result: ask the records, else make the image, then deliver it.

This module is on the no-change path and imports only what that needs; making an image is imported
where it begins.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from wherry.api.delivery import Delivered, deliver
from wherry.api.recorded import BuildRecord, Output, directory_of
from wherry.api.registries import Registries, RegistryAround, tag_named
from wherry.api.removing import namespace_remover
from wherry.api.request import (
    DOCKERFILES,
    FRONTENDS,
    STAMPS,
    BuildOutcome,
    BuildRequest,
    BuildResult,
    ImageFailure,
    is_remote,
)
from wherry.api.step_ids import UniqueIds
from wherry.api.store_limit import StoreLimit
from wherry.api.unchanged import Verdict, ask_records
from wherry.errors import UsageError, WherryError, near
from wherry.events import Level, Message, Sink
from wherry.oci.reference import parse_reference
from wherry.process.cancel import CancelToken
from wherry.store.store import Store, open_store

if TYPE_CHECKING:
    from wherry.api.caching import TravellingCaches
    from wherry.api.travelling_steps import TravellingSteps


def build_image(request: BuildRequest, sink: Sink, cancel: CancelToken) -> BuildResult:
    """Build the one image that `request` asks for; it is in the store and at its outputs then.

    Raises `WherryError` for everything a user can mend, `Cancelled` where `cancel` stopped it; the
    error of an image that failed, and `UsageError` where there are several images.
    """
    outcome = build_images(request, sink, cancel)
    if outcome.failures:
        raise outcome.failures[0].error
    if len(outcome.images) > 1:
        names = ", ".join(image.tags[0] for image in outcome.images)
        raise UsageError(f"{len(outcome.images)} images were built, and one was asked for",
                         why=names, hint="use build_images, or choose one by its name")  # fmt: skip
    return outcome.images[0]


def build_images(request: BuildRequest, sink: Sink, cancel: CancelToken) -> BuildOutcome:
    """Build all images that `request` asks for; they are in the store and at their outputs then.

    Some of several may fail, which is told in the outcome; `ImagesFailed` is raised where that is
    all of them, each for reasons of its own. Else raises as `build_image` does.
    """
    began = time.monotonic()
    sink = UniqueIds(sink)
    frontend = check_request(request)
    directory, _ = directory_of(request)
    around = RegistryAround(
        request.store, request.env, request.cwd, request.ca, sink, cancel, request.registries
    )
    limit = StoreLimit("" if request.foreign else directory, request.env)
    with (
        Registries(around, directory, project=not request.foreign) as registries,
        open_store(
            request.store,
            limit,
            sink=sink,
            hook=request.trace,
            remover=namespace_remover(request.store, request.env, sink),
        ) as store,
        ExitStack() as ends,
    ):
        failures: tuple[ImageFailure, ...] = ()
        plural = False
        caches: TravellingCaches | None = None
        steps: TravellingSteps | None = None
        try:
            if frontend == "dockerfile":
                output, reason, steps = _dockerfile(request, store, registries, limit, ends)
                outputs: tuple[Output, ...] = (output,)
            else:
                answer = _record(request, store, registries, limit, ends)
                failures, reason, caches = answer.failures, answer.reason, answer.caches
                outputs, plural = answer.record.outputs, answer.record.plural
            for line in dict.fromkeys(line for output in outputs for line in output.warnings):
                sink(Message(Level.WARNING, line))
            request.trace("before-delivery")
            delivered = deliver(request, outputs, store, registries)
        except WherryError:
            # What a build leaves that fails again and again counts, too.
            ends.close()
            if store.grew:
                store.enforce_limit()
            raise
        if (reason or store.grew) and steps is None:
            store.enforce_limit()
        seconds = time.monotonic() - began
        images = tuple(
            _result(output, reason, seconds, one)
            for output, one in zip(outputs, delivered, strict=True)
        )
        outcome = BuildOutcome(images, failures, plural, seconds)
        if request.delivered is not None:
            request.delivered(outcome)
        if caches is not None:
            is_pushed = all(one.pushed for one in delivered)
            caches.export(answer.record, is_pushed=is_pushed)
        if steps is not None:
            steps.export()
            # What steps had left was still to be read.
            ends.close()
            if reason or store.grew:
                store.enforce_limit()
    return outcome


def _dockerfile(
    request: BuildRequest,
    store: Store,
    registries: Registries,
    limit: StoreLimit,
    ends: ExitStack,
) -> tuple[Output, str, TravellingSteps | None]:
    """What the record of a Dockerfile's build says, or what building it gives, and why.

    Its caches are in use until `ends`.
    """
    from wherry.api.settled import find_settled  # noqa: PLC0415 - not for Go modules

    settled = find_settled(request, store, registries.around.cancel)
    if settled is not None and not request.cache_to:
        return settled, "", None
    from wherry.api.opened_caches import open_step_caches  # noqa: PLC0415 - not for most

    caches = open_step_caches(request, store, registries)
    if caches is not None:
        ends.callback(caches.close)
    if settled is not None and (caches is None or not caches.lacks(settled)):
        return settled, "", None
    from wherry.api.dockerfiles import make_image  # noqa: PLC0415 - the engine is heavy

    _check_engines(request, registries)
    # What is wrong with the files that name the cap is told before the work, not after it.
    limit()
    return *make_image(request, store, registries, caches), caches


def _check_engines(request: BuildRequest, registries: Registries) -> None:
    """An engine to load into that is not there is told before the work, not after it."""
    if not (request.load or request.outputs):
        return
    from wherry.exporters.spec import parse_outputs  # noqa: PLC0415 - few builds have outputs

    specs = parse_outputs(request.outputs, request.cwd, load=request.load)
    if any(spec.is_load for spec in specs):
        from wherry.api.loading import check_engines  # noqa: PLC0415 - HTTP is imported here

        check_engines(specs, registries.around)


def check_request(request: BuildRequest) -> str:
    """Find what is wrong with the request itself before anything is done; raises `UsageError`.

    Returns the front end that is meant: `gomodule` or `dockerfile`.
    """
    if not request.source:
        # Most often an unset variable in a script: not to be taken for the current directory.
        raise UsageError("SOURCE is empty", hint="name a directory or a Go package, such as .")
    _check_texts(request)
    for tag in request.tags:
        tag_named(tag)
    if request.outputs or request.metadata_file or request.iidfile:
        from wherry.api.output_places import check_output_places  # noqa: PLC0415 - few ask for one

        check_output_places(request)
    _check_word("frontend", request.frontend, FRONTENDS)
    _check_word("stamp", request.stamp, ("", *STAMPS))
    frontend = _frontend(request)
    if request.cache_from or request.cache_to:
        from wherry.api.asked_caches import check_cache_flags  # noqa: PLC0415 - few give any

        check_cache_flags(request)
    if frontend == "dockerfile":
        _refuse_flags(request, _GO_ONLY, "Go modules", "Dockerfile")
        if request.more_sources:
            raise UsageError(f"several SOURCEs: {request.source}, {request.more_sources[0]}",
                             why="a Dockerfile has one build context",
                             hint="name one; others are --build-context NAME=PLACE")  # fmt: skip
        if "," in request.target:
            raise UsageError(f"several targets: {request.target}",
                             why="a Dockerfile is built up to one stage",
                             hint="name one")  # fmt: skip
        if "," in request.platform:
            from wherry.api.one_platform import refuse_several_platforms  # noqa: PLC0415 - as above

            refuse_several_platforms(request)
        if any(getattr(request, name) for name in _STEP_OPTIONS):
            from wherry.api.step_options import read_step_options  # noqa: PLC0415 - few give any

            read_step_options(request)
        return frontend
    _refuse_flags(request, _DOCKERFILE_ONLY, "Dockerfiles", "Go module")
    directory, _ = directory_of(request)
    if not os.access(directory, os.R_OK | os.X_OK):
        raise UsageError(f"{directory} cannot be read", why="its mode does not let you in",
                         hint="make it readable: chmod u+rx")  # fmt: skip
    return frontend


# buildx's words before an annotation's key, which say where it goes.
_ANNOTATION_PLACES = ("index", "manifest", "index-descriptor", "manifest-descriptor")


def _check_texts(request: BuildRequest) -> None:
    """Labels and annotations become JSON, which is UTF-8; arguments may be any bytes."""
    for key, _ in request.annotations:
        place, colon, _ = key.partition(":")
        if colon and place.partition("[")[0].split(",")[0] in _ANNOTATION_PLACES:
            raise UsageError(f"--annotation cannot say {place}: here",
                             why="annotations go to the manifest of each platform and to the index",
                             hint=f"leave out {place}:")  # fmt: skip
    for noun, named in (("label", request.labels), ("annotation", request.annotations)):
        for key, value in named:
            try:
                f"{key}{value}".encode()
            except UnicodeEncodeError as error:
                raise UsageError(f"the {noun} {key!r} is not UTF-8", why=repr(value),
                                 hint="write it in UTF-8, or leave it out") from error  # fmt: skip


def _check_word(flag: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        choices = ", ".join(filter(None, known))
        raise UsageError(f"no {flag} {word!r}", hint=near(word, known) or f"one of: {choices}")


def _frontend(request: BuildRequest) -> str:
    """What SOURCE is read as.

    A Dockerfile in SOURCE itself wins, except beside a wherry.toml or .ko.yaml that has images.
    Files that come through a pipe or from git are a Dockerfile's context.
    """
    if request.frontend != "auto":
        if request.frontend == "gomodule" and (_is_elsewhere(request) or request.file):
            raise UsageError(
                f"--frontend gomodule does not take {request.file or request.source}",
                hint="name a directory or a Go package",
            )
        return request.frontend
    if request.file or _is_elsewhere(request):
        return "dockerfile"
    if request.more_sources:
        return "gomodule"
    directory, pattern = directory_of(request)
    if pattern != ".":
        return "gomodule"
    if not any(os.path.isfile(os.path.join(directory, name)) for name in DOCKERFILES):
        return "gomodule"
    return "gomodule" if _has_images(directory, request.env) else "dockerfile"


def _has_images(directory: str, env: Mapping[str, str]) -> bool:
    """Whether a wherry.toml, else a .ko.yaml, in `directory` says which images there are."""
    from wherry.settings.ko_files import find_ko  # noqa: PLC0415 - only beside a Dockerfile

    if os.path.isfile(os.path.join(directory, "wherry.toml")):
        from wherry.settings.load import load_settings  # noqa: PLC0415 - only where both files lie

        return bool(load_settings(directory).images)
    if not find_ko(directory, env):
        return False
    from wherry.api.ko_migration import load_ko  # noqa: PLC0415 - few modules have such a file

    loaded = load_ko(directory, env)
    return loaded is not None and bool(loaded[0].images)


def _is_elsewhere(request: BuildRequest) -> bool:
    """Whether SOURCE is a pipe or a URL, which only a Dockerfile's context can be."""
    return request.source == "-" or is_remote(request.source, request.cwd)


_GO_ONLY = ("base", "stamp")
_STEP_OPTIONS = (
    "secrets", "ssh", "network", "allow", "add_hosts", "shm_size", "ulimits", "on_error",
)  # fmt: skip
_DOCKERFILE_ONLY = (
    "file",
    "build_args",
    "build_contexts",
    "no_cache_filter",
    "unpack_limit",
    "go_cache",
    "cache_mounts",
    *_STEP_OPTIONS,
)


def _refuse_flags(request: BuildRequest, fields: tuple[str, ...], whose: str, here: str) -> None:
    """Say which flags mean nothing to this front end, rather than pass them over."""
    for name in fields:
        if getattr(request, name):
            flag = name.replace("_", "-")
            # A list is in its plural, others are given for each item.
            flag = flag if name == "cache_mounts" else flag.removesuffix("s")
            other = "gomodule" if here == "Dockerfile" else "dockerfile"
            raise UsageError(f"--{flag} is for {whose}, and this builds a {here}",
                             hint=f"leave it out, or say --frontend {other}")  # fmt: skip


def find_verdict(request: BuildRequest, store: Store, around: RegistryAround) -> Verdict:
    """Whether a record answers a Go build; with `--pull` registries are asked, too."""
    if request.no_cache:
        return Verdict(None, "--no-cache", [])
    verdict = ask_records(request, store, around.cancel)
    if verdict.record is not None and request.pull:
        # Registries of its own: a build that follows reads all settings after it began.
        with Registries(around, directory_of(request)[0]) as asking:
            return _asked_again(verdict, verdict.record.outputs, asking)
    return verdict


class _Answer(NamedTuple):
    """A build's record and what failed; why it was made, empty where it was found; its caches."""

    record: BuildRecord
    failures: tuple[ImageFailure, ...]
    reason: str
    caches: TravellingCaches | None = None


def _record(
    request: BuildRequest,
    store: Store,
    registries: Registries,
    limit: StoreLimit,
    ends: ExitStack,
) -> _Answer:
    """The record that holds, or a new one; its caches are in use until `ends`."""
    verdict = find_verdict(request, store, registries.around)
    if verdict.record is not None and not request.cache_to:
        return _Answer(verdict.record, (), "")
    from wherry.api.opened_caches import open_go_caches  # noqa: PLC0415 - not where one holds

    caches = open_go_caches(request, store, registries)
    if caches is not None:
        ends.callback(caches.close)
    if verdict.record is not None:
        if caches is None or not caches.lacks(verdict.record):
            return _Answer(verdict.record, (), "")
        # Only a build tells which entries it uses.
        verdict = verdict._replace(record=None, reason="a Go cache lacks what this build uses")
    elif caches is not None and not request.no_cache:
        found = caches.answer()
        if found is not None:
            return _Answer(found, (), "", caches)
    if verdict.records:
        registries.around.sink(Message(Level.INFO, f"go runs: {verdict.reason}"))
    from wherry.api.making import make_record  # noqa: PLC0415 - the engine is heavy

    _check_engines(request, registries)
    limit()
    record, failures = make_record(request, verdict, store, registries, caches)
    return _Answer(record, failures, verdict.reason, caches)


def _asked_again(verdict: Verdict, outputs: tuple[Output, ...], registries: Registries) -> Verdict:
    """The verdict once the registry was asked what the bases' names mean now."""
    for base in dict.fromkeys(base for output in outputs for base in output.bases):
        reference = parse_reference(base.name)
        now = registries.of(reference).resolve(reference.tag)
        if now is None or str(now.digest) != base.resolved:
            reason = f"the base {reference.familiar} moved in its registry"
            return Verdict(None, reason, verdict.records)
    return verdict


def _result(output: Output, reason: str, seconds: float, delivered: Delivered) -> BuildResult:
    digest = output.manifest if delivered.root is None else str(delivered.root.digest)
    return BuildResult(
        reference=f"{delivered.references[0].familiar}@{digest}",
        tags=tuple(reference.familiar for reference in delivered.references),
        digest=digest,
        config_digest=output.config,
        size=output.size,
        unpacked=output.unpacked,
        platform=output.platform,
        binaries=output.binaries,
        reused=not reason,
        reason=reason,
        seconds=seconds,
        warnings=output.warnings,
        outputs=delivered.outputs,
        pushed=delivered.pushed,
        loaded=delivered.loaded,
        converted=tuple((dest, str(root.digest)) for dest, root in delivered.converted),
        parts=output.parts,
    )
