# SPDX-License-Identifier: Apache-2.0
"""One build from request to result: ask the records, else make the image, then deliver it.

This module is on the no-change path and imports only what that needs; making an image is imported
where it begins.
"""

from __future__ import annotations

import os
import time

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
from wherry.api.unchanged import Verdict, ask_records
from wherry.errors import UsageError, near
from wherry.events import Level, Message, Sink
from wherry.oci.reference import parse_reference
from wherry.process.cancel import CancelToken
from wherry.store.store import Store, open_store


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

    Some of several may fail, which is told in the outcome. Raises as `build_image` does where that
    is all of them.
    """
    began = time.monotonic()
    frontend = check_request(request)
    directory, _ = directory_of(request)
    around = RegistryAround(request.store, request.env, request.cwd, request.ca, sink, cancel)
    with (
        Registries(around, directory) as registries,
        open_store(
            request.store,
            sink=sink,
            hook=request.trace,
            remover=namespace_remover(request.store, request.env, sink),
        ) as store,
    ):
        failures: tuple[ImageFailure, ...] = ()
        plural = False
        if frontend == "dockerfile":
            output, reason = _dockerfile(request, store, registries)
            outputs: tuple[Output, ...] = (output,)
        else:
            record, failures, reason = _record(request, store, registries)
            outputs, plural = record.outputs, record.plural
        for line in dict.fromkeys(line for output in outputs for line in output.warnings):
            sink(Message(Level.WARNING, line))
        request.trace("before-delivery")
        delivered = deliver(request, outputs, store, registries)
        if reason or any(one.fetched for one in delivered):
            store.enforce_limit()
    seconds = time.monotonic() - began
    images = tuple(
        _result(output, reason, seconds, one)
        for output, one in zip(outputs, delivered, strict=True)
    )
    return BuildOutcome(images, failures, plural, seconds)


def _dockerfile(request: BuildRequest, store: Store, registries: Registries) -> tuple[Output, str]:
    """What the record of a Dockerfile's build says, or what building it gives, and why."""
    from wherry.api.settled import find_settled  # noqa: PLC0415 - not for Go modules

    settled = find_settled(request, store, registries.around.cancel)
    if settled is not None:
        return settled, ""
    from wherry.api.dockerfiles import make_image  # noqa: PLC0415 - the engine is heavy

    return make_image(request, store, registries)


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
    if request.outputs:
        from wherry.exporters.spec import parse_outputs  # noqa: PLC0415 - only for --output

        parse_outputs(request.outputs, request.cwd, load=request.load)
    _check_word("frontend", request.frontend, FRONTENDS)
    _check_word("stamp", request.stamp, ("", *STAMPS))
    frontend = _frontend(request)
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


def _check_texts(request: BuildRequest) -> None:
    """Labels and annotations become JSON, which is UTF-8; arguments may be any bytes."""
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

    A Dockerfile in SOURCE itself wins, except beside a wherry.toml that has images. Files that come
    through a pipe or from git are a Dockerfile's context.
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
    if os.path.isfile(os.path.join(directory, "wherry.toml")):
        from wherry.settings.load import load_settings  # noqa: PLC0415 - only where both files lie

        if load_settings(directory).images:
            return "gomodule"
    return "dockerfile"


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
    *_STEP_OPTIONS,
)


def _refuse_flags(request: BuildRequest, fields: tuple[str, ...], whose: str, here: str) -> None:
    """Say which flags mean nothing to this front end, rather than pass them over."""
    for name in fields:
        if getattr(request, name):
            flag = name.replace("_", "-").removesuffix("s")
            other = "gomodule" if here == "Dockerfile" else "dockerfile"
            raise UsageError(f"--{flag} is for {whose}, and this builds a {here}",
                             hint=f"leave it out, or say --frontend {other}")  # fmt: skip


def _record(
    request: BuildRequest, store: Store, registries: Registries
) -> tuple[BuildRecord, tuple[ImageFailure, ...], str]:
    """The record that holds with an empty reason, or a new one, what failed, why it was made."""
    around = registries.around
    verdict = Verdict(None, "--no-cache", [])
    if not request.no_cache:
        verdict = ask_records(request, store, around.cancel)
        if verdict.record is not None and request.pull:
            # Registries of its own: a build that follows reads all settings after it began.
            with Registries(around, directory_of(request)[0]) as asking:
                verdict = _asked_again(verdict, verdict.record.outputs, asking)
        if verdict.record is not None:
            return verdict.record, (), ""
        if verdict.records:
            around.sink(Message(Level.INFO, f"go runs: {verdict.reason}"))
    from wherry.api.making import make_record  # noqa: PLC0415 - the engine is heavy

    recorded = make_record(request, verdict, store, registries)
    return recorded.record, recorded.failures, verdict.reason


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
    return BuildResult(
        reference=f"{delivered.references[0].familiar}@{delivered.kept or output.manifest}",
        tags=tuple(reference.familiar for reference in delivered.references),
        digest=delivered.kept or output.manifest,
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
    )
