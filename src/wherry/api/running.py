# SPDX-License-Identifier: Apache-2.0
"""Running an image of the local store: `wherry run` as a library function."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import BinaryIO

from wherry.api.growing import open_to_grow
from wherry.api.lazy import complete, missing_layers
from wherry.api.registries import Registries, RegistryAround
from wherry.errors import UsageError
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor, Image, load_image, parse_index, parse_manifest
from wherry.oci.media import foreign_missing, is_foreign, is_index
from wherry.oci.platform import host_platform
from wherry.sandbox.request import Caller, RunError, RunRequest
from wherry.sandbox.run import run_image
from wherry.sandbox.rundir import Workplace
from wherry.store.store import Store, open_store


def run(
    reference: str, request: RunRequest, store: str, env: Mapping[str, str], caller: Caller
) -> int:
    """Run an image of the store at `store` to its end; returns the program's exit code.

    `reference` is a name, NAME@DIGEST or digest. `env` is the caller's environment: its PATH finds
    the programs wherry needs, and a bare `-e NAME` takes its value. Raises `RunError` (docker's
    125, 126, 127), `MachineError` where this machine refuses or a layer is not here (see
    `fetch_missing`), `Interrupted`.
    """
    with ExitStack() as stack:
        blobs: dict[Digest, BinaryIO] = {}
        # Open files outlive a prune, so the store need not stay open as long as the program runs.
        with open_store(store) as opened:
            root = opened.path
            image = _load(opened, reference)
            for layer in image.manifest.layers:
                if is_foreign(layer.media_type) and not opened.blobs.has(layer.digest):
                    raise foreign_missing(layer.digest.short, layer.urls)
                blobs[layer.digest] = stack.enter_context(opened.blobs.open(layer.digest))
        place = Workplace(os.path.join(root, "tmp"), os.path.join(root, "locks"))
        return run_image(image, lambda layer: blobs[layer.digest], place, request, env, caller)


def is_lazy(reference: str, store: str) -> bool:
    """Whether layers of the image are still in a registry; raises `RunError` as `run` does."""
    with open_store(store) as opened:
        return bool(missing_layers(opened, (_load(opened, reference).manifest,)))


def fetch_missing(reference: str, around: RegistryAround) -> None:
    """Fetch the image's lazy layers; raises `NetworkError` that names a source which is gone."""
    with open_to_grow(around) as opened, Registries(around) as registries:
        complete(opened, (_load(opened, reference).manifest,), registries, reference)
        opened.enforce_limit()


def _load(store: Store, reference: str) -> Image:
    try:
        found = store.images.resolve(reference)
    except UsageError as error:
        raise RunError(error.what, why=error.why, hint=error.hint) from error
    if found is None:
        unknown = store.images.unknown(reference)
        raise RunError(unknown.what, hint=unknown.hint)
    if is_index(found.media_type):
        found = _for_this_machine(store, found, reference)
    manifest = store.blobs.read(found.digest)
    return load_image(manifest, store.blobs.read(parse_manifest(manifest).config.digest))


def _for_this_machine(store: Store, index: Descriptor, reference: str) -> Descriptor:
    from wherry.registry.choose import choose  # noqa: PLC0415 - only for an index

    def entries(found: Descriptor) -> tuple[Descriptor, ...]:
        return parse_index(store.blobs.read(found.digest)).manifests

    try:
        return choose(entries(index), host_platform(), name=reference, open_index=entries)
    except UsageError as error:
        hint = f"pull or build it for this machine: --platform {host_platform()}"
        raise RunError(error.what, why=error.why, hint=hint) from error
