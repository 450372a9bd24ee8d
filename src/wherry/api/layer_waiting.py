# SPDX-License-Identifier: Apache-2.0
"""Waiting for layers of a cache place: bounded for all of them together.

A limit for each would add up, and would give a place up because a small layer shares the line with
a large one.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from wherry.api.cache_patience import CachePatience, filling
from wherry.errors import WherryError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class LayerWaiting:
    """How long one place may keep a build waiting for layers; safe for threads.

    Time counts while anything is on its way, once for what comes side by side.
    """

    def __init__(self, patience: CachePatience) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._moving = 0
        self._since = 0.0
        self._spent = 0.0
        self._wanted = 0

    @contextmanager
    def moving(self, size: int = 0) -> Iterator[None]:
        """Wait for the place inside the block, for `size` bytes more than before.

        Raises `TooSlow` once the time is up, and from then on.
        """
        self._count(1, size)
        try:
            with self._patience.within(None):
                yield
        finally:
            self._count(-1, 0)

    def _count(self, more: int, size: int) -> None:
        with self._lock:
            now = time.monotonic()
            self._spent += now - self._since if self._moving else 0.0
            self._since = now
            self._moving += more
            self._wanted += size
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._moving:
                left = max(0.0, filling(self._wanted) - self._spent)
                self._timer = threading.Timer(left, self._patience.token.cancel)
                self._timer.daemon = True
                self._timer.start()


class PatientStream(io.RawIOBase):
    """A layer's bytes, whose reader waits no longer than `waiting` allows.

    What goes wrong is raised as `told` has it.
    """

    def __init__(
        self,
        stream: BinaryIO,
        waiting: LayerWaiting,
        size: int,
        told: Callable[[WherryError], WherryError],
    ) -> None:
        super().__init__()
        self._stream = stream
        self._waiting = waiting
        self._size = size
        self._told = told

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """The next bytes."""
        view = memoryview(buffer).cast("B")
        size, self._size = self._size, 0
        try:
            with self._waiting.moving(size):
                data = self._stream.read(len(view))
        except WherryError as error:
            raise self._told(error) from error
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the stream, too."""
        self._stream.close()
        super().close()
