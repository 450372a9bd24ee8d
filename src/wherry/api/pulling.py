# SPDX-License-Identifier: Apache-2.0
"""Pulling images into the store, and completing those whose layers are still elsewhere."""

from __future__ import annotations

import time
from typing import NamedTuple

from wherry.api.content import stored_image
from wherry.api.growing import open_to_grow
from wherry.api.lazy import complete, missing_layers
from wherry.api.registries import Registries, RegistryAround
from wherry.api.resolved import remember
from wherry.api.transfer import transfer
from wherry.errors import MachineError, UsageError
from wherry.oci.image import Descriptor
from wherry.oci.platform import Platform, host_platform, parse_platform
from wherry.oci.reference import Reference
from wherry.registry.pull import Pulled, pull_manifests
from wherry.store.store import Store


class PullResult(NamedTuple):
    """A pulled image: `reference` is `name:tag@digest`; `size` and `downloaded` are in bytes.

    `digest` is the image in the store, which of an index is the manifest for one platform; `named`
    is the digest that the name meant in the registry. `size` is what a registry holds for it;
    `downloaded` counts layers that were not here.
    """

    reference: str
    digest: str
    named: str
    size: int
    downloaded: int
    seconds: float


def pull_image(
    reference: str,
    around: RegistryAround,
    *,
    platform: str = "",
    all_platforms: bool = False,
) -> PullResult:
    """Fetch an image whole and tag it in the store.

    Of an index the manifest for `platform` (this machine's by default) is what gets the tag, or
    with `all_platforms` the index itself. Raises `NetworkError`, `UsageError` where the platform
    is not there, `MachineError` where the disk is full.
    """
    began = time.monotonic()
    with Registries(around) as registries, open_to_grow(around) as store:
        named = registries.reference(reference)
        wanted = parse_platform(platform) if platform else host_platform()
        pulled = _manifests(store, registries, named, None if all_platforms else wanted)
        image = stored_image(store, _tagged_part(pulled, all_platforms=all_platforms))
        downloaded = complete(store, image.manifests, registries, named.familiar)
        _tag(store, named, image.root.descriptor)
        size = len(image.root.data) + sum(len(child.data) for child in image.children)
        size += sum(blob.size for blob in image.blobs)
        store.enforce_limit()
    digest = str(image.root.descriptor.digest)
    seconds = time.monotonic() - began
    meant = str(pulled.root.digest)
    return PullResult(f"{named.familiar}@{digest}", digest, meant, size, downloaded, seconds)


def complete_images(names: tuple[str, ...], around: RegistryAround) -> tuple[PullResult, ...]:
    """Fetch the missing layers of images of the store, of all of them where no name is given.

    The registry is not asked whether a tag moved. Raises `UsageError` for a name that the store
    does not know, `NetworkError` that names a source which is gone.
    """
    results = []
    with Registries(around) as registries, open_to_grow(around) as store:
        for name, root in _chosen(store, names, registries):
            began = time.monotonic()
            image = stored_image(store, root)
            downloaded = complete(store, image.manifests, registries, name)
            size = root.size + sum(blob.size for blob in image.blobs)
            reference = name if name.startswith("sha256:") else f"{name}@{root.digest}"
            seconds = time.monotonic() - began
            digest = str(root.digest)
            results.append(PullResult(reference, digest, digest, size, downloaded, seconds))
        store.enforce_limit()
    return tuple(results)


def _manifests(
    store: Store, registries: Registries, named: Reference, platform: Platform | None
) -> Pulled:
    around, repository = registries.around, registries.of(named)
    wanted = str(named.digest) if named.digest is not None else named.tag
    with transfer(around.sink, f"look up {named.familiar}") as moving:
        pulled = pull_manifests(repository, wanted, platform, store.blobs, around.cancel)
        moving.remark = f"sha256:{pulled.root.digest.short}"
    for blob in pulled.blobs:
        store.sources.add(blob.digest, repository.full_name)
    if named.digest is None:
        manifests = [raw.descriptor.digest for raw in pulled.manifests]
        configs = [item.image.manifest.config.digest for item in pulled.images]
        remember(store, named, pulled.root, (*manifests, *configs))
    return pulled


def _tagged_part(pulled: Pulled, *, all_platforms: bool) -> Descriptor:
    return pulled.root if all_platforms else pulled.images[0].manifest.descriptor


def _tag(store: Store, named: Reference, root: Descriptor) -> None:
    # Pulled by digest alone it has no name, only its digest, until it is tagged or pruned.
    name = named._replace(digest=None)
    if name.tag:
        store.images.tag(name, root, time.time())
    else:
        store.images.keep(root)


def _chosen(
    store: Store, names: tuple[str, ...], registries: Registries
) -> list[tuple[str, Descriptor]]:
    if names:
        chosen = []
        for name in names:
            found = registries.known(store, name)
            if found is None:
                raise store.images.unknown(name)
            chosen.append((name.partition("@")[0], found))
        return chosen
    rows = [(row.reference.familiar, row.descriptor) for row in store.images.list()]
    return [(name, root) for name, root in rows if _is_incomplete(store, root)]


def _is_incomplete(store: Store, root: Descriptor) -> bool:
    try:
        manifests = stored_image(store, root).manifests
    except (MachineError, UsageError):
        # Damaged: `wherry images` says so.
        return False
    return bool(missing_layers(store, manifests))
