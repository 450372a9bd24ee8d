# SPDX-License-Identifier: Apache-2.0
"""Parallel gzip whose bytes do not depend on the number of workers.

The input is cut into fixed blocks of 1 MiB. Each is deflated by itself on a thread (zlib frees the
interpreter's lock) with the last 32 KiB of the block before it as dictionary, and ends on a byte
boundary, so that the pieces put together are one ordinary gzip member (RFC 1951, RFC 1952). Only a
bounded number of blocks is in flight: memory does not grow with the input.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

BLOCK: Final = 1 << 20
_WINDOW: Final = 32 << 10
# An empty last block of deflate: a fixed-Huffman block that holds only its end.
_END: Final = b"\x03\x00"


class BlockGzip:
    """A writer that gzips what it gets into `out`, in order, from the thread that writes.

    Use it as a context manager: leaving the block finishes the stream, leaving it by an exception
    drops what is in flight and waits for the threads. The bytes depend on the input, the level and
    the zlib in use, never on how the input was cut into writes, nor on `workers`.
    """

    def __init__(self, out: Callable[[bytes], object], *, level: int = 1, workers: int = 2) -> None:
        self._out = out
        self._level = level
        self._pool = ThreadPoolExecutor(max(workers, 1), thread_name_prefix="gzip")
        # One block for each worker, and as many waiting, so that no worker runs dry.
        self._limit = 2 * max(workers, 1)
        self._flying: deque[Future[bytes]] = deque()
        self._pending = bytearray()
        self._window = b""
        self._crc = 0
        self._size = 0
        out(_header(level))

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
            self._out(self._flying.popleft().result())
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
        self._flying.append(self._pool.submit(_deflate, block, self._window, self._level))
        self._window = block[-_WINDOW:]
        while len(self._flying) > self._limit:
            self._out(self._flying.popleft().result())


def _deflate(block: bytes, window: bytes, level: int) -> bytes:
    deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=window)
    return deflate.compress(block) + deflate.flush(zlib.Z_SYNC_FLUSH)


def _header(level: int) -> bytes:
    """RFC 1952, 2.3: deflate, no flags, no time; extra flags by level; operating system unknown."""
    extra = {1: 4, 9: 2}.get(level, 0)
    return struct.pack("<2sBBIBB", b"\x1f\x8b", 8, 0, 0, extra, 255)
