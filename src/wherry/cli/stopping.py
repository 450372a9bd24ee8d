# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM become a cancelled token, so that children end before wherry does.

A thread of its own takes the signals: cancelling takes locks, which a handler in the main thread
could meet half taken, and the main thread may sit in a call that runs no handlers. A second signal
does not wait any more.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from wherry.errors import Interrupted
from wherry.process.cancel import Cancelled, CancelToken

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stopping() -> Iterator[CancelToken]:
    """A token that SIGINT, SIGTERM or SIGHUP cancels; `Cancelled` becomes `Interrupted`."""
    token = CancelToken()
    received: list[int] = []
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    watcher = threading.Thread(
        target=_watch, args=(reading, token, received), name="signals", daemon=True
    )
    watcher.start()
    outer = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    # What was ignored from the start (nohup, a shell's background job) stays ignored.
    taken = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda *_: None) for number in taken}
    try:
        yield token
        # A signal that came too late to stop anything still is the user's last word.
        _finish(writing, watcher)
        token.check()
    except Cancelled as error:
        raise Interrupted(received[0] if received else signal.SIGINT) from error
    finally:
        _finish(writing, watcher)
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(outer)
        os.close(reading)
        os.close(writing)


def _watch(reading: int, token: CancelToken, received: list[int]) -> None:
    while number := os.read(reading, 1)[0]:
        if number not in _SIGNALS:
            continue
        if received:
            os._exit(128 + number)
        received.append(number)
        token.cancel()


def _finish(writing: int, watcher: threading.Thread) -> None:
    if watcher.is_alive():
        os.write(writing, b"\0")
        watcher.join()
