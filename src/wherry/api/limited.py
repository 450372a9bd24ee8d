# SPDX-License-Identifier: Apache-2.0
"""Work that gets so much time and no more: what `wherry doctor` asks of others may never end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from wherry.process.cancel import Cancelled, CancelToken

_T = TypeVar("_T")


def within(seconds: float, cancel: CancelToken, work: Callable[[CancelToken], _T]) -> _T | None:
    """What `work` gives; None where it did not end in time.

    `work` gets a token that is cancelled when the time is over. Raises `Cancelled` where `cancel`
    was, and whatever `work` raises.
    """
    with _limited(seconds, cancel) as token:
        try:
            return work(token)
        except Cancelled:
            cancel.check()
            return None


@contextmanager
def _limited(seconds: float, cancel: CancelToken) -> Iterator[CancelToken]:
    token = CancelToken()
    timer = threading.Timer(seconds, token.cancel)
    timer.daemon = True
    with cancel.on_cancel(token.cancel):
        timer.start()
        try:
            yield token
        finally:
            timer.cancel()
