# SPDX-License-Identifier: Apache-2.0
"""Waiting for layers of a place: one limit for all of them together."""

from __future__ import annotations

import io
import threading
import time

import pytest

from wherry.api import cache_patience
from wherry.api.cache_patience import CachePatience, TooSlow
from wherry.api.layer_waiting import LayerWaiting, PatientStream
from wherry.errors import NetworkError
from wherry.process.cancel import CancelToken


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> CachePatience:
    monkeypatch.setattr(cache_patience, "_LEAST", 0.4)
    return CachePatience(CancelToken())


def take(waiting: LayerWaiting, patience: CachePatience, size: int, seconds: float) -> None:
    """Have a layer come in so many seconds, unless the place is given up."""
    with waiting.moving(size):
        ended = threading.Event()
        with patience.token.on_cancel(ended.set):
            ended.wait(seconds)
        patience.token.check()


def test_a_small_layer_beside_a_large_one_gives_no_place_up(patience: CachePatience) -> None:
    waiting = LayerWaiting(patience)
    small = threading.Thread(target=take, args=(waiting, patience, 10, 0.8))
    small.start()
    time.sleep(0.1)
    # A second for each megabyte.
    take(waiting, patience, 2_000_000, 0.9)
    small.join()
    patience.check()


def test_layers_that_are_slow_one_by_one_do_not_add_up(patience: CachePatience) -> None:
    waiting = LayerWaiting(patience)
    began = time.monotonic()
    with pytest.raises(TooSlow):
        for _ in range(20):
            take(waiting, patience, 1000, 0.15)
    assert 0.3 < time.monotonic() - began < 1.5


def test_time_in_which_nothing_comes_does_not_count(patience: CachePatience) -> None:
    waiting = LayerWaiting(patience)
    for _ in range(3):
        take(waiting, patience, 1000, 0.05)
        time.sleep(0.3)
    patience.check()


def test_what_comes_side_by_side_counts_once(patience: CachePatience) -> None:
    waiting = LayerWaiting(patience)
    threads = [threading.Thread(target=take, args=(waiting, patience, 1000, 0.2)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    patience.check()


def test_a_stream_that_stalls_ends_and_says_so_in_the_words_of_its_reader(
    patience: CachePatience,
) -> None:
    class Stalling(io.RawIOBase):
        def read(self, _size: int = -1, /) -> bytes:
            ended = threading.Event()
            with patience.token.on_cancel(ended.set):
                ended.wait(20)
            patience.token.check()
            return b""

    told: list[Exception] = []

    def tell(error: Exception) -> NetworkError:
        told.append(error)
        return NetworkError("the layer does not come")

    stalling = Stalling()
    stream = PatientStream(stalling, LayerWaiting(patience), 5, tell)  # type: ignore[arg-type]
    began = time.monotonic()
    with pytest.raises(NetworkError, match="the layer does not come"):
        stream.read(5)
    assert time.monotonic() - began < 5
    assert [type(error) for error in told] == [TooSlow]
    stream.close()
    assert stalling.closed


def test_a_stream_gives_all_its_bytes(patience: CachePatience) -> None:
    data = bytes(range(256)) * 50
    told = NetworkError("not told")
    stream = PatientStream(io.BytesIO(data), LayerWaiting(patience), len(data), lambda _e: told)
    assert io.BufferedReader(stream, 1000).read() == data
