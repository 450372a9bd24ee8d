# SPDX-License-Identifier: Apache-2.0
"""Several works at once; the first failure stops the others and is raised when all have ended.

Nothing that was started goes on behind the caller's back. A work stops at its next `Halt.check`,
which it reaches whenever it has moved some bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import TypeVar

from wherry.process.cancel import Cancelled, CancelToken
from wherry.registry.model import Progress

T = TypeVar("T")
R = TypeVar("R")

_REQUEST = 4 << 20  # what waiting for a request's answer costs, in bytes that could have been moved


class Halt:
    """Tells the works of one undertaking to stop: at its first failure, or by the user's token."""

    def __init__(self, cancel: CancelToken) -> None:
        self._cancel = cancel
        self._lock = threading.Lock()
        self._first: BaseException | None = None

    @property
    def first(self) -> BaseException | None:
        """What went wrong first; a cancelled token counts before anything that it caused."""
        return Cancelled() if self._cancel.cancelled else self._first

    def check(self) -> None:
        """Raise `Cancelled` if the works have to stop."""
        self._cancel.check()
        if self._first is not None:
            raise Cancelled

    def stop(self, error: BaseException) -> None:
        """Stop the works because of `error`; only the first one counts."""
        with self._lock:
            self._first = self._first or error

    def told(self, progress: Progress) -> Progress:
        """`progress`, called by one thread at a time, which raises `Cancelled` to stop its work."""
        lock = threading.Lock()

        def tell(count: int) -> None:
            self.check()
            with lock:
                progress(count)

        return tell


def streams(sizes: Iterable[int], most: int) -> int:
    """How many transfers of blobs of these sizes (bytes) are worth having at once, `most` at most.

    The largest blob cannot be split. More streams than bring the others in its time would only
    take bandwidth and processors away from it, and the end would be a long wait for it alone.
    """
    costs = [size + _REQUEST for size in sizes]
    return max(1, min(most, -(-sum(costs) // max(costs)))) if costs else 1


def run_together(works: Sequence[Callable[[], None]], workers: int, halt: Halt) -> None:
    """Run `works`, at most `workers` at once, in their order.

    Raises what failed first, once all that were started have ended; the others are not started.
    """

    def guarded(work: Callable[[], None]) -> None:
        if halt.first is None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
                halt.stop(error)

    if len(works) <= 1 or workers <= 1:
        for work in works:
            guarded(work)
    else:
        with ThreadPoolExecutor(min(workers, len(works)), thread_name_prefix="registry") as pool:
            futures = [pool.submit(guarded, work) for work in works]
            try:
                wait(futures)
            except BaseException as error:
                # An interrupt in this thread: leaving the block waits for those that run.
                halt.stop(error)
                raise
    if halt.first is not None:
        raise halt.first


def map_together(
    function: Callable[[T], R], items: Sequence[T], workers: int, halt: Halt
) -> list[R]:
    """The results of `function` for `items`, in their order; else as `run_together`."""
    results: dict[int, R] = {}

    def store(number: int, item: T) -> None:
        results[number] = function(item)

    works = [partial(store, number, item) for number, item in enumerate(items)]
    run_together(works, workers, halt)
    return [results[number] for number in range(len(items))]
