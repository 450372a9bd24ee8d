# SPDX-License-Identifier: Apache-2.0
"""`wherry lock`: write down what a build takes from elsewhere, so that the next takes the same.

Bases that are locked already stay as they are, and so does the Go version, unless an update is
asked for. The versions of the composed base's data are always those installed here: nothing else
could be built from.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from wherry.api.project_settings import module_root
from wherry.api.registries import Registries, RegistryAround
from wherry.api.transfer import transfer
from wherry.bases.static import static_data_versions
from wherry.errors import MachineError, UsageError, near
from wherry.events import Sink
from wherry.exporters.staging import write_file
from wherry.golang.environment import build_environment, overlay
from wherry.golang.facts import query_go
from wherry.golang.toolchain import find_go
from wherry.oci.digest import Digest
from wherry.oci.media import is_index
from wherry.oci.platform import host_platform
from wherry.oci.reference import Reference
from wherry.process.cancel import CancelToken
from wherry.registry.choose import is_attestation
from wherry.registry.client import Repository
from wherry.registry.documents import (
    is_image_config,
    parse_image,
    parse_index,
    parse_manifest,
    refuse,
)
from wherry.registry.model import RawManifest
from wherry.settings.load import load_settings
from wherry.settings.lock import LOCK_NAME, LockedBase, LockFile, load_lock, render_lock
from wherry.settings.model import Settings


class LockRequest(NamedTuple):
    """What to lock: the module around `source`, seen from `cwd`.

    With `update` what is locked already is asked for again: the bases and words in `names` (`go`
    is the Go version), or everything where it is empty.
    """

    source: str
    cwd: str
    env: Mapping[str, str]
    store: str
    update: bool
    names: tuple[str, ...]
    ca: tuple[str, ...]
    sink: Sink
    cancel: CancelToken


class LockResult(NamedTuple):
    """The file's path, and a line for each thing that is different from before."""

    path: str
    changed: tuple[str, ...]


def write_lock(request: LockRequest) -> LockResult:
    """Write `wherry.lock` beside `wherry.toml`.

    Raises `UsageError` for a bad settings or lock file and for a name that nothing goes by,
    `NetworkError` where a registry cannot say, `MachineError` where the file cannot be written.
    """
    directory = module_root(os.path.normpath(os.path.join(request.cwd, request.source)))
    if not os.path.isdir(directory):
        raise UsageError(f"{request.source} is no directory",
                         hint="name a Go module's directory")  # fmt: skip
    settings = load_settings(directory)
    before = load_lock(directory)
    around = RegistryAround(
        request.store, request.env, request.cwd, request.ca, request.sink, request.cancel
    )
    with Registries(around, directory) as registries:
        references = _references(settings, registries)
        again = _named_again(request, references)
        bases = tuple(
            _locked(reference, before, registries, fresh=reference.full in again)
            for reference in references
        )
    go = _go_version(request, settings, before, directory, fresh="go" in again)
    lock = LockFile(go, static_data_versions(), bases)
    path = os.path.join(directory, LOCK_NAME)
    changed = _changes(before, lock)
    text = render_lock(lock)
    if before is None or render_lock(before) != text:
        write_file(path, text.encode())
    return LockResult(path, changed)


def _references(settings: Settings, registries: Registries) -> tuple[Reference, ...]:
    """The bases that the settings name, without those that a digest pins already."""
    every = (settings.build, *settings.images)
    named = [text for one in every for text in (one.base, one.libc_base)]
    texts = [text for text in named if text and text not in ("static", "scratch")]
    references = dict.fromkeys(registries.reference(text) for text in texts)
    return tuple(reference for reference in references if reference.digest is None)


def _named_again(request: LockRequest, references: tuple[Reference, ...]) -> frozenset[str]:
    """The full names, and `go`, that are to be asked for again."""
    by_word = {"go": "go"}
    for reference in references:
        by_word |= {reference.full: reference.full, reference.familiar: reference.full}
        by_word[reference.familiar.removesuffix(":latest")] = reference.full
    if not request.update:
        return frozenset()
    if not request.names:
        return frozenset(by_word.values())
    for name in request.names:
        if name not in by_word:
            known = tuple(by_word)
            hint = near(name, known) or f"name one of: {', '.join(known)}"
            # Somebody may write user:password@host.
            shown = name.rpartition("@")[2]
            raise UsageError(f"nothing in {LOCK_NAME} goes by the name {shown!r}", hint=hint)
    return frozenset(by_word[name] for name in request.names)


def _locked(
    reference: Reference, before: LockFile | None, registries: Registries, *, fresh: bool
) -> LockedBase:
    held = before.base(reference) if before is not None else None
    if held is not None and not fresh:
        return held
    repository = registries.of(reference)
    with transfer(registries.around.sink, f"look up {reference.familiar}") as moving:
        root = repository.manifest(reference.tag)
        platforms = _platforms(root, repository)
        moving.remark = f"sha256:{root.descriptor.digest.short}"
    descriptor = root.descriptor
    return LockedBase(
        reference.full, descriptor.digest, descriptor.media_type, descriptor.size, platforms
    )


def _platforms(root: RawManifest, repository: Repository) -> tuple[tuple[str, Digest], ...]:
    name = f"{repository.full_name}@{root.descriptor.digest}"
    if is_index(root.descriptor.media_type):
        return tuple(
            (str(entry.platform), entry.digest)
            for entry in parse_index(root, name)
            if entry.platform is not None and not is_attestation(entry)
        )
    config = parse_manifest(root, name).config
    if not is_image_config(config.media_type):
        refuse(name, f"it is no image but an artifact of type {config.media_type}")
    with repository.open_blob(config) as stream:
        platform = parse_image(root, stream.read(), name).config.platform
    return ((str(platform), root.descriptor.digest),)


def _go_version(
    request: LockRequest,
    settings: Settings,
    before: LockFile | None,
    directory: str,
    *,
    fresh: bool,
) -> str:
    """The settings' Go, else the one locked, else the one that would build now."""
    if settings.build.go:
        return settings.build.go
    if before is not None and before.go and not fresh:
        return before.go
    command = find_go(request.env)
    on_top = overlay(command, host_platform(), cgo=bool(settings.build.cgo))
    env = build_environment(request.env, on_top, directory)
    version = query_go(command, directory, env, request.cancel).version
    if not version.startswith("go1."):
        raise MachineError(f"{version} cannot be locked", why="it is not a release of Go",
                           hint='set a release in wherry.toml: go = "1.26.8"')  # fmt: skip
    # `go1.26.8 X:nodwarf5`: experiments belong to the environment, not to the release.
    return version.removeprefix("go").split()[0]


def _changes(before: LockFile | None, now: LockFile) -> tuple[str, ...]:
    old = _facts(before) if before is not None else {}
    new = _facts(now)
    changed = [
        f"{name}: {old[name]} -> {value}" if name in old else f"{name}: {value}"
        for name, value in new.items()
        if old.get(name) != value
    ]
    return (*changed, *(f"{name}: not needed any more" for name in old if name not in new))


def _facts(lock: LockFile) -> dict[str, str]:
    bases = {base.reference: f"sha256:{base.digest.short}" for base in lock.bases}
    return {"go": lock.go, **dict(lock.data), **bases}
