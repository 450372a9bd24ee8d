# SPDX-License-Identifier: Apache-2.0
"""A stream read by a thread of its own, a few blocks ahead of whoever uses it.

Decompression and hashing let other Python threads run, and so does writing files: a layer is
unpacked in the time of the longer of the two. What is read, and the error that it ends with, are
those of the stream itself, in the same order.
"""

from __future__ import annotations

import io
import queue
import threading
from typing import TYPE_CHECKING, Final, Self

from wherry.process.cancel import CancelToken

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BLOCK: Final = 1 << 20
# Blocks that wait: one is filled and one used meanwhile.
_AHEAD: Final = 3


class ReadAhead(io.RawIOBase):
    """`stream`, which nobody else may use until this is closed; a context manager.

    Reading raises what `stream` raised, once and again, and `Cancelled` when `cancel` is. Closing
    waits for the block that is being read, so that `stream` can be closed then.
    """

    def __init__(self, stream: io.RawIOBase, cancel: CancelToken | None = None) -> None:
        super().__init__()
        self._stream = io.BufferedReader(stream, _BLOCK)
        self._cancel = cancel
        # An empty block is the end.
        self._blocks: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._stopped = threading.Event()
        self._current = memoryview(b"")
        self._last: bytes | BaseException | None = None
        self._thread = threading.Thread(target=self._fill, name="read-ahead", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer` with what is there of the next block, or wait for one."""
        if self._cancel is not None:
            self._cancel.check()
        view = memoryview(buffer).cast("B")
        if not self._current:
            self._current = self._next()
        count = min(len(view), len(self._current))
        view[:count] = self._current[:count]
        self._current = self._current[count:]
        return count

    def close(self) -> None:
        """End the thread, and wait for its end."""
        if not self.closed:
            self._stopped.set()
            # It may wait for room; then it looks before it reads on.
            while self._thread.is_alive():
                self._drain()
                self._thread.join(0.01)
            self._stream.detach()
        super().close()

    def _next(self) -> memoryview:
        if self._last is None:
            found = self._blocks.get()
            if isinstance(found, BaseException) or not found:
                self._last = found
            else:
                return memoryview(found)
        if isinstance(self._last, BaseException):
            raise self._last
        return memoryview(b"")

    def _fill(self) -> None:
        try:
            while not self._stopped.is_set():
                block = self._stream.read(_BLOCK)
                self._blocks.put(block)
                if not block:
                    return
        except BaseException as error:  # noqa: BLE001 - it is raised where the stream is used
            self._blocks.put(error)

    def _drain(self) -> None:
        try:
            while True:
                self._blocks.get_nowait()
        except queue.Empty:
            pass
