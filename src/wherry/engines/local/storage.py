# SPDX-License-Identifier: Apache-2.0
"""What the local engine needs of a store, and layers and cache records on top of it.

The store itself is in a lower room and injected; these protocols are all the engine knows of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, NamedTuple, Protocol

from wherry.engines.local.results import (
    Built,
    Change,
    Held,
    Outside,
    Result,
    decode_layer,
    encode_change,
    encode_layer,
    prefix_digests,
    snapshot_key,
)
from wherry.errors import UsageError
from wherry.fstree.compression import Compression
from wherry.graph.keys import CacheKey
from wherry.oci.canonical import canonical_json
from wherry.oci.digest import Digest, parse_digest, sha256
from wherry.oci.image import Descriptor, Layer
from wherry.process.cancel import CancelToken

if TYPE_CHECKING:
    from wherry.fstree.layer import Writing
    from wherry.fstree.pieces import EarlierPieces, Piece, SiblingPieces
    from wherry.fstree.tree import Tree


_PIECES: Final = "pieces/1"
_WRITTEN: Final = "written"
# A layer of fewer bytes is compressed in no time.
_LARGE: Final = 8 << 20


class BlobWriter(Protocol):
    """A blob being staged."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""

    def commit(self, digest: Digest, size: int) -> None:
        """Make the blob visible under its digest."""


class Blobs(Protocol):
    """Content-addressed bytes."""

    def has(self, digest: Digest, size: int | None = None) -> bool:
        """Whether the blob is there, with that size."""

    def known(self, digest: Digest, size: int | None = None) -> bool:
        """Whether the blob is there, or a repository is known to have it."""

    def path(self, digest: Digest) -> str:
        """Where the blob is, if it is there."""

    def open(self, digest: Digest) -> BinaryIO:
        """The blob for reading, not verified."""

    def put(self, data: bytes) -> Digest:
        """Store a small blob unless it is there."""

    def read(self, digest: Digest) -> bytes:
        """A small blob's bytes, verified."""

    def writer(self) -> AbstractContextManager[BlobWriter]:
        """Stage a blob; leaving without commit drops it."""


class Records(Protocol):
    """Small values by kind and key, with the blobs they keep alive."""

    def get(self, kind: str, key: str) -> bytes | None:
        """The value, or None."""

    def put(self, kind: str, key: str, value: bytes, blobs: Iterable[Digest]) -> None:
        """Store a value."""


class Snapshots(Protocol):
    """Directories with what the slabs of roots change, for the namespace worker."""

    def find(self, key: str) -> str | None:
        """The directory of `key`, marked as used; None for none."""

    def stage(self) -> str:
        """A new empty directory."""

    def commit(self, key: str, staged: str, size: int) -> str:
        """Make what was staged visible; the directory, or that of whoever was first."""

    def discard(self, staged: str) -> None:
        """Drop what was staged."""

    def lock(
        self, key: str, check: Callable[[], None] | None = None
    ) -> AbstractContextManager[object]:
        """Hold `key` alone; `check` is called while another one holds it."""


class HeldMount(Protocol):
    """The directory of a cache mount, while it is held."""

    @property
    def path(self) -> str:
        """Where it is."""


Sharing = Literal["shared", "private", "locked"]


class Mounts(Protocol):
    """Directories of cache mounts."""

    def hold(
        self,
        id: str,
        sharing: Sharing,
        check: Callable[[], None] | None = None,
        prepare: Callable[[str], None] | None = None,
    ) -> AbstractContextManager[HeldMount]:
        """Hold a directory of `id`, as BuildKit has it; `prepare` is called with a new one.

        `check` is called while another one holds it.
        """

    def there(self, name: str) -> bool:
        """Whether the directory of that name, the last part of the path above `fs`, still is."""


class WorkDirectory(Protocol):
    """A directory of one Go build, locked while held."""

    @property
    def path(self) -> str:
        """Where it is."""

    @property
    def fd(self) -> int:
        """The lock's descriptor, for children to keep."""


class Storage(Protocol):
    """The parts of a store that the engine uses."""

    @property
    def blobs(self) -> Blobs:
        """Its blobs."""

    @property
    def records(self) -> Records:
        """Its records."""

    @property
    def mounts(self) -> Mounts:
        """Its cache mounts."""

    @property
    def snapshots(self) -> Snapshots:
        """Its snapshots."""

    def work(
        self, key: str, check: Callable[[], None] | None = None
    ) -> AbstractContextManager[WorkDirectory]:
        """The locked directory of one Go build; `check` is called while another one holds it."""

    def scratch(self) -> str:
        """A new directory of this process, which goes with it."""


Fetch = Callable[[tuple[Layer, ...]], object]
"""Brings the bytes of lazy layers into the store; raises `NetworkError`."""


class Offered(Protocol):
    """Layers of earlier steps that are not in the store, and that a cache of this build has."""

    def has(self, blob: Descriptor) -> bool:
        """Whether the bytes can be fetched."""

    def written(self, change: Digest, latest: int | None) -> Layer | None:
        """The layer that was written of a change, with times up to `latest`; None for none."""


class LayerSettings(NamedTuple):
    """How layers are written: compression, threads, the name of the zlib in use.

    `reuse` is False for a build that takes no result of an earlier one from the store. `offered`
    are layers that it may fetch from caches.
    """

    compression: Compression
    workers: int
    codec: str
    reuse: bool = True
    offered: Offered | None = None

    @property
    def written_by(self) -> str:
        """What a layer's bytes depend on beside its tree: equal for equal bytes."""
        return f"{self.compression.kind} {self.compression.level} {self.codec}"


class KnownPieces(NamedTuple):
    """Where a layer's compressed blocks may be known from.

    `file` is an index that one layer alone uses: it remembers the pieces of the layer that was
    written last. `siblings` has those of layers that the same build wrote just before.
    """

    file: str
    siblings: SiblingPieces | None = None


class Times(NamedTuple):
    """The time of entries that have none of their own, and the latest that any may have."""

    default: int
    latest: int | None


def store_layer(
    storage: Storage, tree: Tree, mtime: int, settings: LayerSettings, cancel: CancelToken
) -> Built:
    """The tree's layer in the store: the one recorded for an equal tree, or written now."""
    digest = tree.digest
    key = _layer_key(digest, mtime, settings)
    known = storage.records.get("layer", key) if settings.reuse else None
    built = decode_layer(known) if known is not None else None
    if built is not None and is_whole(storage, built, settings):
        return built
    from wherry.fstree.layer import Writing  # noqa: PLC0415 - not where nothing changed

    layer = _write(storage, tree, mtime, Writing(settings.compression, settings.workers), cancel)[0]
    value = encode_layer(layer, digest, tree.size)
    storage.records.put("layer", key, value, (layer.descriptor.digest,))
    return Built((layer,), tree.size, digest)


def store_next_layer(
    storage: Storage,
    tree: Tree,
    mtime: int,
    settings: LayerSettings,
    cancel: CancelToken,
    known: KnownPieces,
) -> Built:
    """Write the layer of a tree that replaces one much like it; its files are read only once.

    It is compressed only where it differs from what is known.
    """
    from wherry.fstree.layer import Writing  # noqa: PLC0415 - not where nothing changed
    from wherry.fstree.pieces import encode_index  # noqa: PLC0415 - as above

    with _earlier(storage, settings, known) as earlier:
        writing = Writing(settings.compression, settings.workers, earlier)
        layer, pieces = _write(storage, tree, mtime, writing, cancel)
    name = str(layer.descriptor.digest)
    _remember(known.file, encode_index(pieces, settings.written_by, name))
    return Built((layer,), tree.size)


def store_change(
    storage: Storage,
    tree: Tree,
    times: Times,
    settings: LayerSettings,
    cancel: CancelToken,
    step: str = "",
) -> Built:
    """Write the layer of a step's change; what it changed is known by its cache key.

    `step` tells the step of a Dockerfile from others, whatever it reads: a large layer is
    compressed only where it differs from the one that the step wrote last.
    """
    from wherry.fstree.layer import Writing  # noqa: PLC0415 - not where nothing changed
    from wherry.fstree.pieces import encode_index  # noqa: PLC0415 - as above

    writing = Writing(settings.compression, settings.workers, latest=times.latest)
    if not step or tree.size < _LARGE:
        layer, _ = _write(storage, tree, times.default, writing, cancel)
        return Built((layer,), tree.size, layer.diff_id)
    known = storage.records.get(_PIECES, step) if settings.reuse else None
    with _pieces_in(known or b"", storage, settings) as earlier:
        writing = writing._replace(earlier=earlier)
        layer, pieces = _write(storage, tree, times.default, writing, cancel)
    if pieces:
        digest = layer.descriptor.digest
        value = encode_index(pieces, settings.written_by, str(digest))
        storage.records.put(_PIECES, step, value, (digest,))
    return Built((layer,), tree.size, layer.diff_id)


def _write(
    storage: Storage, tree: Tree, mtime: int, writing: Writing, cancel: CancelToken
) -> tuple[Layer, tuple[Piece, ...]]:
    from wherry.fstree.layer import write_layer  # noqa: PLC0415 - not where nothing changed

    with storage.blobs.writer() as writer:
        written = write_layer(tree, writer, mtime, writing, cancel)
        writer.commit(written.digest, written.size)
    descriptor = Descriptor(written.media_type, written.digest, written.size)
    return Layer(descriptor, written.diff_id), written.pieces


def _earlier(storage: Storage, settings: LayerSettings, known: KnownPieces) -> EarlierPieces:
    data = b""
    if settings.reuse:
        with suppress(OSError), open(known.file, "rb") as file:
            data = file.read()
    return _pieces_in(data, storage, settings, known.siblings)


def _pieces_in(
    data: bytes, storage: Storage, settings: LayerSettings, siblings: SiblingPieces | None = None
) -> EarlierPieces:
    """The pieces that an index, which may be empty, tells of."""
    from wherry.fstree.pieces import EarlierPieces, decode_index  # noqa: PLC0415 - as above

    pieces, blob = decode_index(data, settings.written_by)
    try:
        path = str(storage.blobs.path(parse_digest(blob))) if pieces else ""
    except UsageError:
        pieces, path = (), ""
    return EarlierPieces(pieces, path, siblings)


def _remember(index: str, data: bytes) -> None:
    # Only an aid to speed: no fsync, and a full disk is for the next real write to tell.
    staged = f"{index}.new"
    with suppress(OSError):
        with open(staged, "wb") as file:
            file.write(data)
        os.replace(staged, index)


def is_whole(storage: Storage, built: Built, settings: LayerSettings) -> bool:
    """Whether all of the result can still be had; layers below may be in a registry.

    A change is there as long as its snapshot is, or the layer that was written of it.
    """
    if not all(_is_had(storage, layer.descriptor, settings) for layer in built.layers):
        return False
    stack = built.stack
    for slab, digest in zip(stack, prefix_digests(stack), strict=True):
        if isinstance(slab, Layer):
            known = storage.blobs.known(slab.descriptor.digest, slab.descriptor.size)
            if not known and not _is_had(storage, slab.descriptor, settings):
                return False
        elif not _has_change(storage, slab, digest, settings):
            return False
    return True


def _is_had(storage: Storage, blob: Descriptor, settings: LayerSettings) -> bool:
    """Whether a blob is there, or a cache of this build has it."""
    if storage.blobs.has(blob.digest, blob.size):
        return True
    return settings.offered is not None and settings.offered.has(blob)


def _is_outside(storage: Storage, cache: Outside) -> bool:
    """Whether what a later step has to find of a Go cache is still there."""
    if not cache.is_needed:
        return True
    is_known = not cache.seen or storage.blobs.has(parse_digest(cache.seen))
    return is_known and storage.mounts.there(cache.pool)


def _has_change(storage: Storage, change: Change, digest: Digest, settings: LayerSettings) -> bool:
    """Whether a change is there; `digest` is that of the root which it is on top of."""
    if not all(_is_outside(storage, cache) for cache in change.outside):
        return False
    if change.empty or storage.snapshots.find(snapshot_key(change.place, digest)) is not None:
        return True
    return written_layer(storage, change, settings) is not None


def written_layer(
    storage: Storage, change: Change, settings: LayerSettings, latest: int | None = None
) -> Layer | None:
    """The layer that was written of a change with such settings, if it still can be had.

    `latest` is what its times were cut off at.
    """
    data = storage.records.get(_WRITTEN, _written_key(change, settings, latest))
    built = decode_layer(data) if data is not None else None
    if built is not None and len(built.layers) == 1:
        layer = built.layers[0]
        if storage.blobs.has(layer.descriptor.digest, layer.descriptor.size):
            return layer
    return None if settings.offered is None else settings.offered.written(change.id, latest)


def remember_written(
    storage: Storage, change: Change, layer: Layer, settings: LayerSettings, latest: int | None
) -> None:
    """Record the layer that was written of a change."""
    value = encode_layer(layer, layer.diff_id, change.size)
    key = _written_key(change, settings, latest)
    storage.records.put(_WRITTEN, key, value, (layer.descriptor.digest,))


def _written_key(change: Change, settings: LayerSettings, latest: int | None) -> str:
    return _layer_key(change.id, -1 if latest is None else latest, settings)


class StepCache(Protocol):
    """Results of steps beyond the store."""

    def lookup(self, key: Digest) -> Built | None:
        """The result of the step with this key, in which all can be had that will be asked for."""

    def note(self, key: Digest, result: Built) -> None:
        """Hear which results a build has found and made."""


class CacheRecords:
    """The solver's cache on a store's records; `codec` goes into every key.

    What the store lacks is looked up in `beyond`.
    """

    def __init__(
        self, storage: Storage, settings: LayerSettings, beyond: StepCache | None = None
    ) -> None:
        self._storage = storage
        self._settings = settings
        self._beyond = beyond

    def lookup(self, key: CacheKey) -> Result | None:
        """The recorded result, if its layers are still there."""
        if not self._settings.reuse:
            return None
        found = self._own(key)
        if self._beyond is not None:
            found = found or self._beyond.lookup(key.digest)
            if found is not None:
                self._beyond.note(key.digest, found)
        return found

    def _own(self, key: CacheKey) -> Built | None:
        data = self._storage.records.get("cache", self._key(key))
        built = decode_layer(data) if data is not None else None
        if built is None or not is_whole(self._storage, built, self._settings):
            return None
        return built

    def save(self, key: CacheKey, result: Result) -> None:
        """Record a result that is one layer on known ones; others are quickly made again."""
        if isinstance(result, Held):
            return
        if result.change is not None:
            value = encode_change(result.change, result.below)
        elif len(result.layers) == 1 and result.tree is not None and result.unpacked is not None:
            value = encode_layer(result.layers[0], result.tree, result.unpacked, result.below)
        else:
            return
        blobs = [slab.descriptor.digest for slab in result.stack if isinstance(slab, Layer)]
        # Of a cache that is on another machine nothing is here but a digest.
        blobs += [parse_digest(cache.seen) for cache in result.outside if cache.pool and cache.seen]
        # What a root is said to consist of, and nobody had to fetch, no record can keep.
        if self._settings.offered is None or all(map(self._storage.blobs.known, blobs)):
            self._storage.records.put("cache", self._key(key), value, blobs)
        if self._beyond is not None:
            self._beyond.note(key.digest, result)

    def _key(self, key: CacheKey) -> str:
        return _layer_key(key.digest, 0, self._settings)


def _layer_key(digest: Digest, mtime: int, settings: LayerSettings) -> str:
    compression = settings.compression
    return sha256(
        canonical_json(
            [str(digest), mtime, str(compression.kind), compression.level, settings.codec]
        )
    ).hex
