# SPDX-License-Identifier: Apache-2.0
"""Works side by side: the order of results, and what the first failure does to the rest."""

import threading
from functools import partial

import pytest

from wherry.process.cancel import Cancelled, CancelToken
from wherry.registry.together import Halt, map_together, run_together, streams


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_are_in_the_order_of_the_items(workers: int) -> None:
    first = threading.Event()

    def square(number: int) -> int:
        # The first one ends last where there are several workers.
        if workers > 1 and number == 0:
            assert first.wait(10)
        if number == 1:
            first.set()
        return number * number

    found = map_together(square, range(20), workers, Halt(CancelToken()))
    assert found == [number * number for number in range(20)]


@pytest.mark.parametrize("workers", [1, 2])
def test_after_a_failure_nothing_more_is_started(workers: int) -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == 0:
            raise KeyError(number)
        done.append(number)

    halt = Halt(CancelToken())
    with pytest.raises(KeyError):
        run_together([partial(work, number) for number in range(1)], workers, halt)
    with pytest.raises(KeyError):
        run_together([partial(work, number) for number in range(1, 9)], workers, halt)
    assert done == []


def test_the_first_failure_is_raised_though_others_follow() -> None:
    failed = threading.Event()

    def first() -> None:
        failed.set()
        raise KeyError("first")

    def second() -> None:
        assert failed.wait(10)
        while True:
            halt.check()

    halt = Halt(CancelToken())
    with pytest.raises(KeyError, match="first"):
        run_together([first, second], 2, halt)


def test_a_cancelled_token_is_what_is_raised() -> None:
    token = CancelToken()
    halt = Halt(token)

    def work() -> None:
        token.cancel()
        raise KeyError("caused by it")

    with pytest.raises(Cancelled):
        run_together([work], 2, halt)
    with pytest.raises(Cancelled):
        run_together([], 2, halt)


@pytest.mark.parametrize(
    ("sizes", "most", "wanted"),
    [
        ((), 4, 1),
        ((300, 100, 50, 50), 4, 2),
        ((100, 100, 100, 100, 100), 4, 4),
        ((500,), 4, 1),
        ((500, 1), 4, 2),
        ((1, 1, 1), 1, 1),
    ],
)
def test_no_more_streams_than_end_with_the_largest(sizes, most, wanted):
    """A blob cannot be split: what else fits into its time goes beside it, and no more."""
    assert streams([size << 20 for size in sizes], most) == wanted
