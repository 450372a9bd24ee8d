# SPDX-License-Identifier: Apache-2.0
"""Parallel gzip whose bytes do not depend on the number of workers.

The input is cut into fixed blocks of 256 KiB. Each is deflated by itself on a thread (zlib frees
the interpreter's lock) with the last 32 KiB of the block before it as dictionary, and ends on a
byte boundary, so that the pieces put together are one ordinary gzip member (RFC 1951, RFC 1952).
Only a bounded number of blocks is in flight: memory does not grow with the input.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, NamedTuple, Self

from wherry.fstree.pieces import EarlierPieces, Piece, piece_key

# Smaller ones are no smaller in all, and more of them are equal to those of another layer.
BLOCK: Final = 256 << 10
_WINDOW: Final = 32 << 10
# An empty last block of deflate: a fixed-Huffman block that holds only its end.
_END: Final = b"\x03\x00"


class BlockGzip:
    """A writer that gzips what it gets into `out`, in order, from the thread that writes.

    Use it as a context manager: leaving the block finishes the stream, leaving it by an exception
    drops what is in flight and waits for the threads. The bytes depend on the input, the level and
    the zlib in use, never on how the input was cut into writes, nor on `workers` or `earlier`.
    """

    def __init__(
        self,
        out: Callable[[bytes], object],
        *,
        level: int = 1,
        workers: int = 2,
        earlier: EarlierPieces | None = None,
    ) -> None:
        self._raw_out = out
        self._offset = 0
        self._earlier = earlier
        # Where each block's compressed bytes lie: what a later layer may copy.
        self.pieces: list[Piece] = []
        self._level = level
        self._pool = ThreadPoolExecutor(max(workers, 1), thread_name_prefix="gzip")
        # One block for each worker, and some waiting, so that no worker runs dry.
        self._limit = 4 * max(workers, 1)
        self._flying: deque[Future[_Deflated]] = deque()
        self._pending = bytearray()
        self._window = b""
        self._crc = 0
        self._size = 0
        self._out(_header(level))

    def write(self, data: bytes) -> None:
        """Take the next bytes; may wait for a block in flight, and call `out`."""
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        view = memoryview(data)
        while view:
            room = BLOCK - len(self._pending)
            self._pending += view[:room]
            view = view[room:]
            if len(self._pending) == BLOCK:
                self._submit()

    def close(self) -> None:
        """Finish the stream; nothing may be written afterwards."""
        if self._pending:
            self._submit()
        while self._flying:
            self._land()
        self._pool.shutdown()
        self._out(_END + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF))

    def abort(self) -> None:
        """Drop what is in flight, without finishing the stream."""
        self._pool.shutdown(cancel_futures=True)
        self._flying.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self.abort()

    def _submit(self) -> None:
        block = bytes(self._pending)
        self._pending.clear()
        job = self._pool.submit(_deflate, block, self._window, self._level, self._earlier)
        self._flying.append(job)
        self._window = block[-_WINDOW:]
        while len(self._flying) > self._limit:
            self._land()

    def _land(self) -> None:
        done = self._flying.popleft().result()
        self.pieces.append(Piece(done.key, self._offset, len(done.data), done.digest))
        self._out(done.data)

    def _out(self, data: bytes) -> None:
        self._offset += len(data)
        self._raw_out(data)


class _Deflated(NamedTuple):
    """A compressed block: its key, its bytes, their digest."""

    key: bytes
    data: bytes
    digest: bytes


def _deflate(block: bytes, window: bytes, level: int, earlier: EarlierPieces | None) -> _Deflated:
    key = piece_key(window, block)
    found = earlier.find(key) if earlier is not None else None
    if found is not None:
        return _Deflated(key, *found)
    deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=window)
    data = deflate.compress(block) + deflate.flush(zlib.Z_SYNC_FLUSH)
    digest = hashlib.sha256(data).digest()
    if earlier is not None:
        earlier.keep(key, data, digest)
    return _Deflated(key, data, digest)


def _header(level: int) -> bytes:
    """RFC 1952, 2.3: deflate, no flags, no time; extra flags by level; operating system unknown."""
    extra = {1: 4, 9: 2}.get(level, 0)
    return struct.pack("<2sBBIBB", b"\x1f\x8b", 8, 0, 0, extra, 255)
