# SPDX-License-Identifier: Apache-2.0
"""One token that says "stop" to everything a build has running.

Whoever starts something that must end early (a child process, a wait) registers a callback; the
first `cancel` runs all callbacks once, in the thread that cancels. Thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Cancelled(Exception):
    """Raised by work that stopped because its token was cancelled."""


class CancelToken:
    """Cancelled at most once, never reset."""

    def __init__(self) -> None:
        # Re-entrant: a signal handler cancels in the main thread, which may hold the lock.
        self._lock = threading.RLock()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._next = 0
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def check(self) -> None:
        """Raise `Cancelled` if the token is cancelled: for loops between two pieces of work."""
        if self._cancelled:
            raise Cancelled

    def cancel(self) -> None:
        """Run every registered callback once; later registrations run at once."""
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
            callbacks = list(self._callbacks.values())
            self._callbacks.clear()
        for callback in callbacks:
            callback()

    @contextmanager
    def on_cancel(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call `callback` if the token is cancelled inside the block (or already was)."""
        with self._lock:
            key = self._next
            self._next += 1
            self._callbacks[key] = callback
        # Asked after it is there: a signal handler may cancel in the middle of the lines above.
        if self._cancelled and self._callbacks.pop(key, None) is not None:
            callback()
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.pop(key, None)


@contextmanager
def time_limit(seconds: float) -> Iterator[CancelToken]:
    """A token that is cancelled when the time is over: for programs that may never answer."""
    token = CancelToken()
    timer = threading.Timer(seconds, token.cancel)
    timer.daemon = True
    timer.start()
    try:
        yield token
    finally:
        timer.cancel()
