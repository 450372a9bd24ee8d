# SPDX-License-Identifier: Apache-2.0
"""A tree becomes a layer blob, in one pass: tar, diff ID, compression, digest, size.

The calling thread reads files and writes the blob; digests and deflate run on threads beside it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol

from wherry.fstree.compression import Compression, CompressionKind
from wherry.fstree.gzipped import BlockGzip
from wherry.fstree.pieces import EarlierPieces, Piece
from wherry.fstree.tar import write_tar
from wherry.fstree.tree import Tree
from wherry.fstree.zstd_writer import ZstdWriter
from wherry.oci.digest import Digest
from wherry.process.cancel import CancelToken

_BLOCK = 1 << 20


class WrittenLayer(NamedTuple):
    """What `write_layer` wrote: digest of the tar, digest and size of the blob, its media type.

    `pieces` are where the blob's compressed blocks lie, for a later layer that is nearly the same.
    """

    diff_id: Digest
    digest: Digest
    size: int
    media_type: str
    pieces: tuple[Piece, ...] = ()


class Writing(NamedTuple):
    """How to write a layer: compression, threads for it, pieces of an earlier layer to copy.

    No entry gets a later time than `latest`.
    """

    compression: Compression = Compression()
    workers: int = 2
    earlier: EarlierPieces | None = None
    latest: int | None = None


class LayerSink(Protocol):
    """Takes a layer blob's bytes in order, such as a file opened for writing."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes, all of them."""


def write_layer(
    tree: Tree, sink: LayerSink, mtime: int, writing: Writing, cancel: CancelToken
) -> WrittenLayer:
    """Write `tree` as a layer blob to `sink`; entries without a time get `mtime`.

    `sink` is used from this thread only. Raises `BuildError` where a file changed meanwhile,
    `Cancelled` between two blocks, and whatever `sink` raises; then the blob is incomplete.
    """
    # One thread for both digests: what it is given is hashed in the order it came.
    with ThreadPoolExecutor(1, thread_name_prefix="digest") as hashing:
        blob = _Measured(sink.write, hashing)
        source = _Source(tree, mtime, writing.latest, cancel, hashing)
        tar, pieces = _compress(source, blob, writing)
        media_type = writing.compression.media_type
        return WrittenLayer(tar.digest, blob.digest, blob.size, media_type, pieces)


class _Source(NamedTuple):
    """A tree on its way to become a tar."""

    tree: Tree
    mtime: int
    latest: int | None
    cancel: CancelToken
    hashing: Executor

    def write(self, out: Callable[[bytes], object]) -> _Measured:
        tar = _Measured(out, self.hashing)
        blocks = _Blocks(tar.write, self.cancel)
        write_tar(self.tree, blocks.write, self.mtime, self.latest)
        blocks.flush()
        return tar


def _compress(
    source: _Source, blob: LayerSink, writing: Writing
) -> tuple[_Measured, tuple[Piece, ...]]:
    match writing.compression.kind:
        case CompressionKind.UNCOMPRESSED:
            return source.write(blob.write), ()
        case CompressionKind.ZSTD:
            level, workers = writing.compression.level, writing.workers
            with ZstdWriter(blob.write, level=level, workers=workers) as zstd:
                return source.write(zstd.write), ()
        case CompressionKind.GZIP:
            with BlockGzip(
                blob.write,
                level=writing.compression.level,
                workers=writing.workers,
                earlier=writing.earlier,
            ) as gzip:
                tar = source.write(gzip.write)
            return tar, tuple(gzip.pieces)


class _Measured:
    """Digest and size of what goes through to `out`; hashed on a thread of its own."""

    # Pieces that may wait for the hash: memory does not grow with the layer.
    _WAITING = 8

    def __init__(self, out: Callable[[bytes], object], beside: Executor) -> None:
        self._out = out
        self._hash = hashlib.sha256()
        self._beside = beside
        self._pending: deque[Future[None]] = deque()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._pending.append(self._beside.submit(self._hash.update, data))
        while len(self._pending) > self._WAITING:
            self._pending.popleft().result()
        self.size += len(data)
        self._out(data)

    @property
    def digest(self) -> Digest:
        while self._pending:
            self._pending.popleft().result()
        return Digest("sha256", self._hash.hexdigest())


class _Blocks:
    """Gathers small pieces, so that what follows sees few, big ones."""

    def __init__(self, out: Callable[[bytes], object], cancel: CancelToken) -> None:
        self._out = out
        self._cancel = cancel
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= _BLOCK:
            self.flush()

    def flush(self) -> None:
        self._cancel.check()
        if self._pieces:
            self._out(b"".join(self._pieces))
        self._pieces.clear()
        self._size = 0
