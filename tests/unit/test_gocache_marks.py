# SPDX-License-Identifier: Apache-2.0
"""Marks: what was used since an epoch began, whatever clocks and others do."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from wherry.gocache.marks import epoch, used

HOUR = 3600.0
DAY = 24 * HOUR


def nothing() -> None:
    return


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    for number in range(256):
        (tmp_path / "cache" / f"{number:02x}").mkdir(parents=True)
    return tmp_path / "cache"


def entry(cache: Path, name: str, age: float) -> str:
    identity = hashlib.sha256(name.encode()).hexdigest()
    path = cache / identity[:2] / f"{identity}-a"
    path.write_text("v1")
    os.utime(path, (time.time() - age,) * 2)
    return identity


def use(cache: Path, identity: str) -> None:
    """As Go does it: where the time is more than an hour old."""
    path = cache / identity[:2] / f"{identity}-a"
    if time.time() - path.stat().st_mtime >= HOUR:
        os.utime(path)


@pytest.mark.parametrize("age", [0.0, 10.0, 2 * HOUR, 2 * DAY, -2 * DAY, 20 * DAY])
def test_just_what_is_used_is_told(cache: Path, age: float) -> None:
    one, two = entry(cache, "one", age), entry(cache, "two", age)
    with epoch(str(cache), nothing) as began:
        use(cache, one)
        new = entry(cache, "new", 0)
        assert set(used(str(cache), began)) == {one, new}
    assert two not in set(used(str(cache), began))


def test_old_entries_keep_their_times(cache: Path) -> None:
    old = entry(cache, "old", 4 * DAY)
    path = cache / old[:2] / f"{old}-a"
    before = path.stat().st_mtime_ns
    with epoch(str(cache), nothing):
        assert path.stat().st_mtime_ns == before


def test_outputs_and_strange_files_are_not_touched(cache: Path) -> None:
    others = [cache / "00" / ("0" * 64 + "-d"), cache / "00" / "x-a", cache / "trim.txt"]
    for path in others:
        path.write_text("")
    before = [path.stat().st_mtime_ns for path in others]
    with epoch(str(cache), nothing) as began:
        assert [path.stat().st_mtime_ns for path in others] == before
        assert set(used(str(cache), began)) == set()


def test_who_comes_later_takes_back_no_use(cache: Path) -> None:
    one, two = entry(cache, "one", 0), entry(cache, "two", 0)
    with epoch(str(cache), nothing) as began:
        use(cache, one)
        # Locks belong to what was opened: this is as another process.
        with epoch(str(cache), nothing) as again:
            use(cache, two)
            assert set(used(str(cache), began)) == {one, two}
            assert {one, two} <= set(used(str(cache), again))


def test_an_epoch_ends_with_its_last_command(cache: Path) -> None:
    one = entry(cache, "one", 0)
    with epoch(str(cache), nothing):
        use(cache, one)
    with epoch(str(cache), nothing) as began:
        assert set(used(str(cache), began)) == set()


def test_a_cache_that_is_not_there_or_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with epoch(str(tmp_path / "file"), nothing) as began:
        assert set(used(str(tmp_path / "file"), began)) == set()
    with epoch(str(tmp_path / "new"), nothing) as began:
        assert set(used(str(tmp_path / "new"), began)) == set()
