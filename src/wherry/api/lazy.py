# SPDX-License-Identifier: Apache-2.0
"""Lazy layers: noted with their repository when an image is met, fetched when bytes are needed."""

from __future__ import annotations

from collections.abc import Iterable

from wherry.api.registries import Registries
from wherry.api.transfer import transfer
from wherry.errors import MachineError
from wherry.oci.image import Descriptor, Manifest
from wherry.oci.media import is_foreign
from wherry.store.store import Store


def note_sources(store: Store, manifests: Iterable[Manifest], repository: str) -> None:
    """Remember that `repository` (`registry/name`) holds the layers of these images."""
    for manifest in manifests:
        for layer in manifest.layers:
            store.sources.add(layer.digest, repository)


def missing_layers(store: Store, manifests: Iterable[Manifest]) -> tuple[Descriptor, ...]:
    """The layers that are not in the store, each once, and could be.

    Foreign layers are none of them: registries need not have those.
    """
    layers = {layer.digest: layer for manifest in manifests for layer in manifest.layers}
    return tuple(
        layer
        for layer in layers.values()
        if not is_foreign(layer.media_type) and not store.blobs.has(layer.digest, layer.size)
    )


def complete(store: Store, manifests: Iterable[Manifest], registries: Registries, name: str) -> int:
    """Fetch what is missing of the images called `name`; the number of bytes that were fetched.

    Raises `NetworkError` that names the source where a layer cannot be had (any more).
    """
    missing = missing_layers(store, manifests)
    if not missing:
        return 0
    from wherry.registry.pull import fetch_layers  # noqa: PLC0415 - HTTP is imported here

    jobs = []
    for layer in missing:
        names = store.sources.of(layer.digest)
        if not names:
            raise MachineError(
                f"a layer of {name} is missing from the store",
                why=f"{layer.digest} is not there, and no registry is known to have it",
                hint="build or pull the image again",
            )
        jobs.append((layer, tuple(registries.named(item) for item in names)))
    around = registries.around
    total = sum(layer.size for layer in missing)
    settings = registries.settings
    with transfer(around.sink, f"fetch layers of {name}", total) as moving:
        fetch_layers(
            jobs, store.blobs, around.cancel, workers=settings.concurrency or 4, progress=moving
        )
        moving.remark = f"{total / 1e6:.1f} MB"
    return total
