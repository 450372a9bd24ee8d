# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM become a cancelled token, so that children end before wherry does.

A thread of its own takes the signals: cancelling takes locks, which a handler in the main thread
could meet half taken, and the main thread may sit in a call that runs no handlers. A second signal
does not wait any more; one that comes at once is the first again, as `timeout` and shells send it
both to the process and to its group.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from wherry.errors import Interrupted
from wherry.process.cancel import Cancelled, CancelToken

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAME_SECONDS = 0.3


class SignalToken(CancelToken):
    """A token that a signal cancels; `signal` is its number, SIGINT's while there was none."""

    signal: int = signal.SIGINT

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """`Cancelled` leaves the block as `Interrupted`, which tells the exit code."""
        try:
            yield
        except Cancelled as error:
            raise Interrupted(self.signal) from error


@contextmanager
def stopping() -> Iterator[SignalToken]:
    """A token that SIGINT, SIGTERM or SIGHUP cancels; `Cancelled` becomes `Interrupted`."""
    token = SignalToken()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    watcher = threading.Thread(target=_watch, args=(reading, token), name="signals", daemon=True)
    watcher.start()
    outer = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    # What was ignored from the start (nohup, a shell's background job) stays ignored.
    taken = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda *_: None) for number in taken}
    try:
        with token.interrupting():
            yield token
    finally:
        os.write(writing, b"\0")
        watcher.join()
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(outer)
        os.close(reading)
        os.close(writing)


class _Ended(KeyboardInterrupt):
    """A signal that ends a process, raised as Ctrl-C is: nothing on the way takes it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def ending() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, as `Interrupted`: with its children.

    For work that takes no token.
    """

    def end(number: int, _: object) -> NoReturn:
        raise _Ended(number)

    signals = (signal.SIGTERM, signal.SIGHUP)
    before = {
        one: signal.signal(one, end) for one in signals if signal.getsignal(one) != signal.SIG_IGN
    }
    try:
        yield
    except _Ended as error:
        raise Interrupted(error.number) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(reading: int, token: SignalToken) -> None:
    first = 0.0
    while number := os.read(reading, 1)[0]:
        if number not in _SIGNALS:
            continue
        if not first:
            first = time.monotonic()
            token.signal = number
            token.cancel()
        elif time.monotonic() - first > _SAME_SECONDS:
            _leave(number)


def _leave(number: int) -> NoReturn:
    # The live view may have hidden the cursor, and nobody takes it back any more.
    if os.isatty(2) and os.environ.get("TERM") != "dumb":
        os.write(2, b"\x1b[?25h\n")
    os._exit(128 + number)
