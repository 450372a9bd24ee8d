# SPDX-License-Identifier: Apache-2.0
"""Compressed pieces of an earlier layer, so that what did not change is not compressed again.

Two links of one program differ in few places, and so do programs that are made of the same
packages. `BlockGzip` compresses fixed blocks, each by itself, so a block whose input (with the
window before it) was compressed before gives the same bytes: they are copied from the earlier blob,
or from memory, where a layer of the same build had them. Each piece of a blob is checked against
its own digest before it is used; a blob that was pruned or damaged costs the compression, never a
wrong byte.

Index form, version 1: JSON `{"version": 1, "codec": TEXT, "blob": PATH-free name, "pieces":
[[input digest, offset, size, piece digest], ...]}`, digests as sha256 in hex.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from contextlib import suppress
from typing import NamedTuple, Self

_VERSION = 1
# No block is larger, however badly it compresses, and no blob ends beyond.
_LARGEST = 64 << 20
_END = 1 << 62


class Piece(NamedTuple):
    """One block's compressed bytes within a blob; digests are raw sha256."""

    key: bytes
    offset: int
    size: int
    digest: bytes


def piece_key(window: bytes, block: bytes) -> bytes:
    """What a block's compressed bytes depend on, for one codec and level."""
    hasher = hashlib.sha256(len(window).to_bytes(4, "big"))
    hasher.update(window)
    hasher.update(block)
    return hasher.digest()


class SiblingPieces:
    """Compressed blocks of layers that one build writes one after another, for several threads.

    At most `limit` bytes: the oldest go first. All layers must have the same codec and level.
    """

    def __init__(self, limit: int = 32 << 20) -> None:
        self._limit = limit
        self._size = 0
        self._by_key: dict[bytes, tuple[bytes, bytes]] = {}
        self._lock = threading.Lock()

    def find(self, key: bytes) -> tuple[bytes, bytes] | None:
        """The compressed bytes of the block with that key, and their digest."""
        return self._by_key.get(key)

    def keep(self, key: bytes, data: bytes, digest: bytes) -> None:
        """Remember a block that was compressed now."""
        with self._lock:
            if key in self._by_key or len(data) > self._limit:
                return
            self._by_key[key] = data, digest
            self._size += len(data)
            while self._size > self._limit:
                oldest = next(iter(self._by_key))
                self._size -= len(self._by_key.pop(oldest)[0])


class EarlierPieces:
    """The pieces of one earlier blob, for reading from several threads; `siblings` come first."""

    def __init__(
        self, pieces: tuple[Piece, ...], path: str, siblings: SiblingPieces | None = None
    ) -> None:
        self._siblings = siblings
        self._by_key = {piece.key: piece for piece in pieces}
        self._fd = -1
        if pieces:
            with suppress(OSError):
                self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def find(self, key: bytes) -> tuple[bytes, bytes] | None:
        """The compressed bytes of the block with that key, verified, and their digest."""
        if self._siblings is not None and (found := self._siblings.find(key)) is not None:
            return found
        piece = self._by_key.get(key)
        if piece is None or self._fd < 0:
            return None
        try:
            data = os.pread(self._fd, piece.size, piece.offset)
        except OSError:
            return None
        return (data, piece.digest) if hashlib.sha256(data).digest() == piece.digest else None

    def keep(self, key: bytes, data: bytes, digest: bytes) -> None:
        """Let later siblings have a block that was compressed now."""
        if self._siblings is not None:
            self._siblings.keep(key, data, digest)

    def close(self) -> None:
        """Give the blob back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()


def encode_index(pieces: tuple[Piece, ...], codec: str, blob: str) -> bytes:
    """An index as bytes."""
    rows = [[item.key.hex(), item.offset, item.size, item.digest.hex()] for item in pieces]
    return json.dumps({"version": _VERSION, "codec": codec, "blob": blob, "pieces": rows}).encode()


def decode_index(data: bytes, codec: str) -> tuple[tuple[Piece, ...], str]:
    """Pieces and blob name of an index; none where it is of another codec, or unreadable."""
    try:
        value = json.loads(data)
        if (value["version"], value["codec"]) != (_VERSION, codec):
            return (), ""
        rows = value["pieces"]
        pieces = tuple(
            Piece(bytes.fromhex(key), int(offset), int(size), bytes.fromhex(digest))
            for key, offset, size, digest in rows
        )
        if not all(0 <= piece.offset < _END and 0 <= piece.size <= _LARGEST for piece in pieces):
            return (), ""
        return pieces, str(value["blob"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return (), ""
