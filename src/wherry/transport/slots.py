# SPDX-License-Identifier: Apache-2.0
"""How many connections to one host may be used at once."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable

from wherry.process.cancel import CancelToken


class Slots:
    """Rights to use a connection. Thread-safe.

    A thread that has one gets more without waiting: it may read a blob from a host while it sends
    it back there, and all threads doing so would wait for each other for ever.
    """

    def __init__(self, count: int, cancel: CancelToken) -> None:
        # SimpleQueue.put is safe inside a signal handler, which a lock of ours would not be.
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._cancel = cancel
        self._lock = threading.Lock()
        self._held: Counter[int] = Counter()
        for _ in range(max(1, count)):
            self._free.put(None)

    def take(self) -> Callable[[], None]:
        """Wait for a slot; the function gives it back, once. `Cancelled`."""
        thread = threading.get_ident()
        with self._lock:
            nested = self._held[thread] > 0
        if not nested:
            self._wait()
        with self._lock:
            self._held[thread] += 1

        def give() -> None:
            with self._lock:
                self._held[thread] -= 1
                if not self._held[thread]:
                    del self._held[thread]
            if not nested:
                self._free.put(None)

        return give

    def _wait(self) -> None:
        self._cancel.check()
        with self._cancel.on_cancel(lambda: self._free.put(None)):
            self._free.get()
        # What woke this thread may have been meant to; the others are woken by their own.
        self._cancel.check()


def pause(seconds: float, cancel: CancelToken) -> None:
    """Sleep, but raise `Cancelled` as soon as the token is cancelled."""
    woken: queue.SimpleQueue[None] = queue.SimpleQueue()
    with cancel.on_cancel(lambda: woken.put(None)):
        try:
            woken.get(timeout=seconds)
        except queue.Empty:
            return
    cancel.check()
