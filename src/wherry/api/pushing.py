# SPDX-License-Identifier: Apache-2.0
"""Pushing images of the store: to several repositories at once, lazy layers from their source.

A layer that is not here is mounted where its source is in the target's registry, else it streams
from the source to the target and never lands on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import BinaryIO, cast

from wherry.api.content import StoredImage, stored_image
from wherry.api.lazy import LazyLayer
from wherry.api.registries import Registries, RegistryAround
from wherry.api.request import PushResult
from wherry.api.transfer import Transfer, transfer
from wherry.errors import MachineError, UsageError
from wherry.oci.image import Descriptor
from wherry.oci.media import is_foreign
from wherry.oci.reference import Reference, parse_reference
from wherry.registry.model import BlobSource
from wherry.registry.push import Content, Pushed, Target, push
from wherry.store.store import Store, open_store


def push_image(
    source: str, targets: tuple[str, ...], around: RegistryAround
) -> tuple[PushResult, ...]:
    """Push the image `source` of the store to `targets`, or to its own name where there is none.

    Raises `UsageError` for an unknown image, `NetworkError` for what a registry refuses.
    """
    with Registries(around) as registries, open_store(around.store) as store:
        found = registries.known(store, source)
        if found is None:
            raise store.images.unknown(source)
        names = targets or (source,)
        if not targets and parse_reference(source).digest is not None:
            raise UsageError(f"{source!r} names no tag to push to",
                             hint="name a target: wherry push IMAGE TARGET")  # fmt: skip
        references = tuple(registries.reference(name) for name in names)
        return push_stored(store, found, references, registries)


def push_stored(
    store: Store, root: Descriptor, references: Sequence[Reference], registries: Registries
) -> tuple[PushResult, ...]:
    """Push an image of the store to every reference; a result for each, in their order."""
    for reference in references:
        if reference.digest is not None:
            raise UsageError(f"a tag has no digest: {str(reference)!r}",
                             hint="leave out @sha256:...")  # fmt: skip
    image = stored_image(store, root)
    blobs = tuple(StoredBlob(item, store, registries) for item in _sendable(image))
    content = Content(image.root, image.children, blobs)
    targets = _targets(references, registries)
    around = registries.around
    names = ", ".join(reference.familiar for reference in references)
    with transfer(around.sink, f"push {names}") as moving:
        pushed = push(
            content, targets, around.cancel, workers=registries.concurrency, progress=moving
        )
        moving.remark = _remark(pushed, moving)
    for item in pushed:
        if not item.unchanged:
            # The next push to another repository there need only mount them.
            for blob in blobs:
                store.sources.add(blob.descriptor.digest, item.target.repository.full_name)
    return _results(references, pushed, root)


def _sendable(image: StoredImage) -> Iterable[Descriptor]:
    # Distribution specification: layers that may not be distributed stay where their URLs say.
    return (item for item in image.blobs if not is_foreign(item.media_type))


def _targets(references: Sequence[Reference], registries: Registries) -> tuple[Target, ...]:
    tags: dict[tuple[str, str], dict[str, None]] = {}
    for reference in references:
        tags.setdefault((reference.registry, reference.repository), {})[reference.tag] = None
    return tuple(Target(registries.repository(*name), tuple(named)) for name, named in tags.items())


def _results(
    references: Sequence[Reference], pushed: Sequence[Pushed], root: Descriptor
) -> tuple[PushResult, ...]:
    by_name = {item.target.repository.full_name: item for item in pushed}
    results = []
    for reference in dict.fromkeys(references):
        name = f"{reference.registry}/{reference.repository}"
        item = by_name[name]
        counts = (item.bytes, item.mounted, item.existed)
        where = f"{reference.familiar}@{root.digest}"
        results.append(PushResult(where, str(root.digest), *counts, item.unchanged))
    return tuple(results)


def _remark(pushed: Sequence[Pushed], moving: Transfer) -> str:
    if all(item.unchanged for item in pushed):
        return "unchanged"
    mounted = sum(item.mounted for item in pushed)
    return f"{moving.moved / 1e6:.1f} MB sent" + (f", {mounted} mounted" if mounted else "")


class StoredBlob(BlobSource):
    """A blob of the store, or of the repositories that its lazy layer came from, to be sent."""

    def __init__(self, descriptor: Descriptor, store: Store, registries: Registries) -> None:
        self._descriptor = descriptor
        self._store = store
        self._registries = registries

    @property
    def descriptor(self) -> Descriptor:
        """Digest and size."""
        return self._descriptor

    @property
    def repositories(self) -> tuple[str, ...]:
        """Where it can be had, `registry/name`."""
        return self._store.sources.of(self._descriptor.digest)

    def open(self, offset: int) -> BinaryIO:
        """The bytes from `offset` on; raises `MachineError` where nobody has them."""
        digest = self._descriptor.digest
        if self._store.blobs.has(digest, self._descriptor.size):
            file = self._store.blobs.open(digest)
            file.seek(offset)
            return file
        repositories = self.repositories
        if not repositories:
            raise MachineError(f"the layer {digest} is missing from the store",
                               why="no registry is known to have it",
                               hint="build or pull the image again")  # fmt: skip
        # A file in all that matters; only typeshed's BinaryIO is no protocol.
        layer = LazyLayer(self._descriptor, repositories, self._registries, offset)
        return cast("BinaryIO", layer)
