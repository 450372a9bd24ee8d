# SPDX-License-Identifier: Apache-2.0
"""Contents taken out of layers: each layer is read once, only as far as it has to be.

What is taken is verified. A layer's index and blob come from a store, where both were verified
before: a difference means that the store is damaged.
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

from wherry.errors import MachineError, UsageError
from wherry.fstree.decompress import decompressed
from wherry.fstree.spool import Spool
from wherry.fstree.tree import Content, InLayer
from wherry.oci.digest import Digest
from wherry.process.cancel import CancelToken

_PIECE: Final = 1 << 18


def extract(
    open_blob: Callable[[Digest], BinaryIO],
    wanted: Iterable[InLayer],
    directory: str,
    cancel: CancelToken,
) -> dict[InLayer, Content]:
    """The wanted contents as ones that can be written, by what was wanted.

    Small ones are in memory, others in a new file in `directory`, to be kept as long as they are
    needed. Raises `MachineError` where a blob is not what its index says or the disk is full,
    `Cancelled`, and whatever `open_blob` raises.
    """
    by_blob: dict[tuple[Digest, str], list[InLayer]] = {}
    for item in set(wanted):
        by_blob.setdefault((item.blob, item.media_type), []).append(item)
    found: dict[InLayer, Content] = {}
    with Spool(directory) as spool:
        for (blob, media_type), items in sorted(by_blob.items()):
            with open_blob(blob) as stream, _explained(blob):
                layer = _Layer(decompressed(stream, media_type), cancel)
                for item in sorted(items, key=lambda item: item.offset):
                    found[item] = layer.take(item, spool)
    return found


class _Layer:
    """A layer's tar, read from its start on."""

    def __init__(self, tar: BinaryIO, cancel: CancelToken) -> None:
        self._tar = tar
        self._cancel = cancel
        self._position = 0

    def take(self, item: InLayer, spool: Spool) -> Content:
        """Its content, which begins at or behind the position."""
        if item.offset < self._position:
            raise UsageError("two of its files overlap")
        for _ in self._pieces(item.offset - self._position):
            pass
        hasher = hashlib.new(item.digest.algorithm)
        content = spool.add(self._hashed(item.size, hasher.update), item.size)
        if hasher.hexdigest() != item.digest.hex:
            raise UsageError(f"the content at {item.offset} is not {item.digest}")
        return content

    def _hashed(self, size: int, update: Callable[[bytes], None]) -> Iterator[bytes]:
        for piece in self._pieces(size):
            update(piece)
            yield piece

    def _pieces(self, size: int) -> Iterator[bytes]:
        while size:
            self._cancel.check()
            piece = self._tar.read(min(size, _PIECE))
            if not piece:
                raise UsageError("it is cut short")
            size -= len(piece)
            self._position += len(piece)
            yield piece


@contextmanager
def _explained(blob: Digest) -> Iterator[None]:
    try:
        yield
    except (UsageError, EOFError, zlib.error, tarfile.TarError) as error:
        raise MachineError(
            f"the layer {blob.short} in the store is damaged",
            why=str(error),
            hint="prune the store, and build again",
        ) from error
