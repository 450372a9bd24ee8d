# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM become a cancelled token, so that children end before wherry does.

A second signal does not wait any more.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from wherry.errors import Interrupted
from wherry.process.cancel import Cancelled, CancelToken

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stopping() -> Iterator[CancelToken]:
    """A token that SIGINT, SIGTERM or SIGHUP cancels; `Cancelled` becomes `Interrupted`."""
    token = CancelToken()
    received: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if received:
            os._exit(128 + number)
        received.append(number)
        token.cancel()

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield token
    except Cancelled as error:
        raise Interrupted(received[0] if received else signal.SIGINT) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
