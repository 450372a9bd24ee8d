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
from wherry.api.request import DOCKERFILES, FRONTENDS, STAMPS, BuildRequest, BuildResult
from wherry.api.unchanged import Verdict, ask_records
from wherry.errors import UsageError, near
from wherry.events import Level, Message, Sink
from wherry.oci.reference import parse_reference
from wherry.process.cancel import CancelToken
from wherry.store.store import Store, open_store


def build_image(request: BuildRequest, sink: Sink, cancel: CancelToken) -> BuildResult:
    """Build what `request` asks for; the image is in the store and at its outputs afterwards.

    Raises `WherryError` for everything a user can mend, `Cancelled` where `cancel` stopped it.
    """
    began = time.monotonic()
    check_request(request)
    directory, _ = directory_of(request)
    around = RegistryAround(request.store, request.env, request.cwd, request.ca, sink, cancel)
    with (
        Registries(around, directory) as registries,
        open_store(request.store, sink=sink, hook=request.trace) as store,
    ):
        record, reason = _record(request, store, registries)
        for line in record.output.warnings:
            sink(Message(Level.WARNING, line))
        request.trace("before-delivery")
        delivered = deliver(request, record.output, store, registries)
        if reason or delivered.fetched:
            store.enforce_limit()
    return _result(record.output, reason, time.monotonic() - began, delivered)


def check_request(request: BuildRequest) -> None:
    """Find what is wrong with the request itself before anything is done; raises `UsageError`."""
    if not request.source:
        # Most often an unset variable in a script: not to be taken for the current directory.
        raise UsageError("SOURCE is empty", hint="name a directory or a Go package, such as .")
    _refuse_remote(request.source)
    _check_texts(request)
    for tag in request.tags:
        tag_named(tag)
    if request.outputs:
        from wherry.exporters.spec import parse_output  # noqa: PLC0415 - only for --output

        for text in request.outputs:
            parse_output(text, request.cwd)
    _check_word("frontend", request.frontend, FRONTENDS)
    _check_word("stamp", request.stamp, ("", *STAMPS))
    if request.frontend == "dockerfile":
        raise UsageError("the Dockerfile front end is not in this release",
                         hint="build the Go module itself: --frontend gomodule")  # fmt: skip
    directory, _ = directory_of(request)
    if not os.access(directory, os.R_OK | os.X_OK):
        raise UsageError(f"{directory} cannot be read", why="its mode does not let you in",
                         hint="make it readable: chmod u+rx")  # fmt: skip
    if request.frontend == "auto":
        for name in DOCKERFILES:
            _refuse_dockerfile(request, os.path.join(directory, name))


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


def _refuse_dockerfile(request: BuildRequest, path: str) -> None:
    """A Dockerfile in SOURCE itself wins, except beside a wherry.toml that has images."""
    directory, pattern = directory_of(request)
    if pattern != "." or not os.path.isfile(path):
        return
    if os.path.isfile(os.path.join(directory, "wherry.toml")):
        from wherry.settings.load import load_settings  # noqa: PLC0415 - only where both files lie

        if load_settings(directory).images:
            return
    raise UsageError(
        f"{path} makes this a Dockerfile build, which is not in this release",
        hint="build the Go module beside it: --frontend gomodule",
    )


def _refuse_remote(source: str) -> None:
    """Build contexts that come through a pipe or from git belong to the Dockerfile front end."""
    is_git = "://" in source or (":" in source and "@" in source.partition(":")[0])
    if source == "-" or is_git:
        raise UsageError(
            f"{source} as SOURCE is not in this release",
            why="build contexts from stdin and git come with the Dockerfile front end",
            hint="fetch it, and build the Go module there: --frontend gomodule",
        )


def _record(request: BuildRequest, store: Store, registries: Registries) -> tuple[BuildRecord, str]:
    """The record that holds with an empty reason, or a new one and why it was made."""
    around = registries.around
    verdict = Verdict(None, "--no-cache", [])
    if not request.no_cache:
        verdict = ask_records(request, store, around.cancel)
        if verdict.record is not None and request.pull:
            # Registries of its own: a build that follows reads all settings after it began.
            with Registries(around, directory_of(request)[0]) as asking:
                verdict = _asked_again(verdict, verdict.record.output, asking)
        if verdict.record is not None:
            return verdict.record, ""
        if verdict.records:
            around.sink(Message(Level.INFO, f"go runs: {verdict.reason}"))
    from wherry.api.making import make_record  # noqa: PLC0415 - the engine is heavy

    return make_record(request, verdict, store, registries), verdict.reason


def _asked_again(verdict: Verdict, output: Output, registries: Registries) -> Verdict:
    """The verdict once the registry was asked what the base's name means now."""
    if output.base is None:
        return verdict
    reference = parse_reference(output.base.name)
    now = registries.of(reference).resolve(reference.tag)
    if now is not None and str(now.digest) == output.base.resolved:
        return verdict
    reason = f"the base {reference.familiar} moved in its registry"
    return Verdict(None, reason, verdict.records)


def _result(output: Output, reason: str, seconds: float, delivered: Delivered) -> BuildResult:
    return BuildResult(
        reference=f"{delivered.references[0].familiar}@{output.manifest}",
        tags=tuple(reference.familiar for reference in delivered.references),
        digest=output.manifest,
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
    )
