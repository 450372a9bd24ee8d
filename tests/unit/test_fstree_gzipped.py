# SPDX-License-Identifier: Apache-2.0
"""Parallel gzip: what readers get back, equal bytes, bounded memory."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import random
import shutil
import subprocess
import threading
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.fstree import gzipped
from wherry.fstree.gzipped import BLOCK, BlockGzip


def zipped(data: bytes, *, level: int = 1, workers: int = 2, cuts: tuple[int, ...] = ()) -> bytes:
    out = bytearray()
    bounds = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    with BlockGzip(out.extend, level=level, workers=workers) as writer:
        for start, end in itertools.pairwise(bounds):
            writer.write(data[start:end])
    return bytes(out)


def some_text(size: int) -> bytes:
    """Compressible bytes with long-range repeats, always the same."""
    words = [b"%x " % (number * number * 2654435761 % 5003) for number in range(size // 2 + 1)]
    return b"".join(words)[:size]


@pytest.mark.skipif(hasattr(zlib, "ZLIBNG_VERSION"), reason="zlib-ng deflates to other bytes")
def test_golden_digest() -> None:
    digest = hashlib.sha256(zipped(some_text(3 * BLOCK + 17))).hexdigest()
    assert digest == "23cb3f8f385b8453ea33776fc26569d17cc5a80b68288cc7c2114953949840a4"


SIZES = (0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 5 * BLOCK + 3)


@pytest.mark.parametrize("size", SIZES)
def test_readers_get_the_input_back(size: int) -> None:
    data = some_text(size)
    packed = zipped(data)
    assert gzip.decompress(packed) == data
    reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
    assert reader.decompress(packed) == data
    assert reader.eof
    assert reader.unused_data == b""


@pytest.mark.skipif(shutil.which("gzip") is None, reason="gzip is not installed")
@pytest.mark.parametrize("size", [0, 2 * BLOCK + 5])
def test_the_gzip_program_reads_it(size: int) -> None:
    data = some_text(size)
    done = subprocess.run(["gzip", "-dc"], input=zipped(data), capture_output=True, check=True)
    assert done.stdout == data
    assert done.stderr == b""


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(st.tuples(st.binary(max_size=300), st.integers(1, 3000)), max_size=6),
    cuts=st.lists(st.integers(0, 10**7), max_size=4),
    level=st.integers(0, 9),
)
def test_any_input_cut_anyhow_comes_back(
    pieces: list[tuple[bytes, int]], cuts: list[int], level: int
) -> None:
    data = b"".join(piece * times for piece, times in pieces)
    packed = zipped(data, level=level, cuts=tuple(cuts))
    assert gzip.decompress(packed) == data
    assert packed == zipped(data, level=level, workers=1)


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_bytes_do_not_depend_on_workers_or_writes(workers: int) -> None:
    data = some_text(4 * BLOCK + 99)
    cuts = tuple(range(0, len(data), 77_777))
    assert zipped(data, workers=workers, cuts=cuts) == zipped(data, workers=1)


def test_the_header_holds_no_time_and_no_system() -> None:
    assert zipped(b"x")[:10] == bytes.fromhex("1f8b08000000000004ff")
    assert zipped(b"x", level=9)[8:10] == b"\x02\xff"
    assert zipped(b"x", level=6)[8:10] == b"\x00\xff"


def test_blocks_use_what_came_before_them() -> None:
    noise = random.Random(2).randbytes(16 << 10)
    data = bytes(BLOCK - len(noise)) + noise + noise
    assert len(zipped(data)) < len(noise) + 8000


def test_the_number_of_blocks_in_flight_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = threading.Lock()
    begun = written = most = 0
    deflate = gzipped._deflate

    def counted(block: bytes, window: bytes, level: int, earlier: object) -> object:
        nonlocal begun, most
        with lock:
            begun += 1
            most = max(most, begun - written)
        return deflate(block, window, level, earlier)

    def out(data: bytes) -> None:
        nonlocal written
        time.sleep(0.01)  # a slow disk: workers would run ahead of it
        with lock:
            written += 1

    monkeypatch.setattr(gzipped, "_deflate", counted)
    with BlockGzip(out, workers=2) as writer:
        for _ in range(20):
            writer.write(bytes(BLOCK))
    assert begun == 20
    assert most <= 10


def test_a_failing_sink_ends_the_threads() -> None:
    def out(data: bytes) -> None:
        if len(data) > 10:
            raise OSError(28, "No space left on device")

    before = threading.active_count()
    with pytest.raises(OSError, match="No space"), BlockGzip(out, workers=2) as writer:
        for _ in range(10):
            writer.write(bytes(BLOCK))
    assert threading.active_count() == before
