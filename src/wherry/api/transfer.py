# SPDX-License-Identifier: Apache-2.0
"""A step that moves bytes, as progress events: begun, told of now and then, ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from wherry.events import Outcome, Sink, StepEnded, StepProgress, StepStarted
from wherry.process.cancel import Cancelled

# Often enough for the eye, seldom enough for a log.
_SECONDS_BETWEEN = 0.1


class Transfer:
    """Counts bytes from any thread and tells the sink at most ten times a second."""

    def __init__(self, sink: Sink, name: str, total: int) -> None:
        self.id = name
        self.remark = ""
        self.moved = 0
        self._sink = sink
        self._total = total
        self._told = 0.0
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        """`count` more bytes were moved."""
        with self._lock:
            self.moved += count
            now = time.monotonic()
            if now - self._told < _SECONDS_BETWEEN:
                return
            self._told = now
            moved = self.moved
        self._sink(StepProgress(self.id, moved, self._total, "bytes"))


@contextmanager
def transfer(sink: Sink, name: str, total: int = 0) -> Iterator[Transfer]:
    """A step called `name` for the time of the block; `total` is 0 while unknown."""
    began = time.monotonic()
    outcome = Outcome.FAILED
    moving = Transfer(sink, name, total)
    sink(StepStarted(moving.id, name))
    try:
        yield moving
        outcome = Outcome.DONE
    except Cancelled:
        outcome = Outcome.CANCELLED
        raise
    finally:
        sink(StepEnded(moving.id, outcome, time.monotonic() - began, moving.remark))
