# SPDX-License-Identifier: Apache-2.0
"""GOCACHE after crashes, on full disks and odd file systems; places that keep a build waiting."""

import errno
import hashlib
import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.api.cache_patience import CachePatience, TooSlow, fetching, sending
from wherry.errors import MachineError
from wherry.gocache import build_cache
from wherry.gocache.build_cache import BuildCache, NoRoom
from wherry.gocache.importing import Holding
from wherry.gocache.pack import write_pack
from wherry.gocache.pack_set import PACK_TYPE, TABLE_TYPE, Pack, PackSet
from wherry.gocache.places import Damaged
from wherry.gocache.table import BadPack, Content, Row, encode_table
from wherry.golang.build_entries import Action, encode_action
from wherry.oci.digest import sha256
from wherry.oci.image import Descriptor
from wherry.process.cancel import Cancelled, CancelToken
from wherry.transport.slots import pause

CONTENTS = (b"one", b"two" * 1000, b"large " * 1_000_000)


@pytest.fixture
def cache(tmp_path: Path) -> BuildCache:
    made = BuildCache(str(tmp_path / "gocache"))
    made.prepare()
    return made


def row_of(data: bytes) -> Row:
    output = hashlib.sha256(data).hexdigest()
    return Row(hashlib.sha256(b"key" + data).hexdigest(), output, len(data), 1)


def output(cache: BuildCache, row: Row) -> Path:
    return Path(cache.path, row.content[:2], f"{row.content}-d")


def files(cache: BuildCache) -> list[str]:
    return sorted(path.name for path in Path(cache.path).rglob("*") if path.is_file())


class Shelf:
    """A place in memory."""

    name = "shelf"

    def __init__(self, contents: tuple[bytes, ...] = CONTENTS) -> None:
        self.rows = tuple(map(row_of, contents))
        by_digest = dict(zip((row.content for row in self.rows), contents, strict=True))
        out = io.BytesIO()
        table = write_pack("build", self.rows, lambda row: io.BytesIO(by_digest[row.content]),
                           out.write, CancelToken()).table  # fmt: skip
        encoded = encode_table(table)
        self.blobs = {sha256(data): data for data in (out.getvalue(), encoded)}
        blob = Descriptor(PACK_TYPE, sha256(out.getvalue()), out.tell())
        described = Descriptor(TABLE_TYPE, sha256(encoded), len(encoded))
        pack = Pack("build", blob, described, table.size, len(table.rows), 1)
        self.packs = PackSet((pack,))

    def open(self, blob: Descriptor) -> io.BytesIO:
        if blob.digest not in self.blobs:
            raise Damaged("it is gone")
        return io.BytesIO(self.blobs[blob.digest])

    def has(self, blob: Descriptor) -> bool:
        return blob.digest in self.blobs

    def holding(self) -> Holding:
        made = Holding(self, None, CancelToken())  # type: ignore[arg-type]
        made.current = self.packs
        return made


# --- what a crash left ---------------------------------------------------------------------------


@pytest.mark.parametrize("data", CONTENTS)
def test_other_bytes_of_the_right_size_are_replaced(cache: BuildCache, data: bytes) -> None:
    """Go looks at the size of an output only: a row must not make such a one an entry."""
    row = row_of(data)
    output(cache, row).write_bytes(b"\0" * len(data))
    shelf = Shelf()
    shelf.holding().restore(shelf.packs, cache)
    assert output(cache, row).read_bytes() == data
    assert cache.row(row.key) == row


def test_a_table_with_more_rows_than_the_index_says_is_refused(cache: BuildCache) -> None:
    """The index bounds what all tables together take in memory."""
    shelf = Shelf((b"one", b"two"))
    (pack,) = shelf.packs.packs
    shelf.packs = PackSet((pack._replace(rows=1),))
    with pytest.raises(BadPack, match="do not belong together"):
        shelf.holding().restore(shelf.packs, cache)


def test_other_bytes_stay_without_an_entry_where_the_pack_is_broken(cache: BuildCache) -> None:
    shelf = Shelf((b"one",))
    row = shelf.rows[0]
    output(cache, row).write_bytes(b"\0" * row.size)
    del shelf.blobs[shelf.packs.packs[0].digest]
    with pytest.raises(Damaged):
        shelf.holding().restore(shelf.packs, cache)
    assert cache.row(row.key) is None


def test_an_index_without_what_vouches_for_it_is_no_entry(cache: BuildCache) -> None:
    """Go would believe it, whatever the directory holds by which it is named."""
    shelf = Shelf((b"one", b"go index v2\nother files"))
    shelf.holding().restore(shelf.packs, cache)
    assert [cache.row(row.key) for row in shelf.rows] == [shelf.rows[0], None]


def test_an_output_that_is_right_is_not_read_again(cache: BuildCache) -> None:
    shelf = Shelf((b"one", b"two"))
    output(cache, shelf.rows[0]).write_bytes(b"one")
    before = output(cache, shelf.rows[0]).stat().st_ino
    restored = shelf.holding().restore(shelf.packs, cache)
    assert restored.content == 3
    assert output(cache, shelf.rows[0]).stat().st_ino == before
    assert [cache.row(row.key) for row in shelf.rows] == list(shelf.rows)


def test_a_program_of_go_run_in_its_place_stays(cache: BuildCache) -> None:
    shelf = Shelf((b"one", b"two"))
    output(cache, shelf.rows[0]).mkdir()
    (output(cache, shelf.rows[0]) / "prog").write_bytes(b"one")
    shelf.holding().restore(shelf.packs, cache)
    assert (output(cache, shelf.rows[0]) / "prog").read_bytes() == b"one"
    assert cache.row(shelf.rows[0].key) is None
    assert cache.row(shelf.rows[1].key) == shelf.rows[1]
    assert len(files(cache)) == 3


# --- file systems --------------------------------------------------------------------------------


def test_a_file_system_without_nameless_files(
    cache: BuildCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = os.open

    def opened(path: str, flags: int, *more: int, **named: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not supported")
        return right(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", opened)
    shelf = Shelf()
    shelf.holding().restore(shelf.packs, cache)
    assert [cache.row(row.key) for row in shelf.rows] == list(shelf.rows)
    assert len(files(cache)) == 6


@pytest.mark.parametrize("room", [0, 10, 4000, 3_000_000])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_keeps_nothing(
    cache: BuildCache, monkeypatch: pytest.MonkeyPatch, room: int, number: int
) -> None:
    mine = row_of(b"mine")
    output(cache, mine).write_bytes(b"mine")
    action = encode_action(Action(mine.key, mine.content, mine.size, 1))
    Path(cache.path, mine.key[:2], f"{mine.key}-a").write_bytes(action)
    before = files(cache)
    right, left = build_cache.write_all, [room]

    def write(fd: int, data: bytes) -> None:
        left[0] -= len(data)
        right(fd, data[: len(data) // 2] if left[0] < 0 else data)
        if left[0] < 0:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(build_cache, "write_all", write)
    shelf = Shelf((*CONTENTS, b"mine"))
    with pytest.raises(NoRoom, match="cannot be written"):
        shelf.holding().restore(shelf.packs, cache)
    assert files(cache) == before


def test_a_disk_that_breaks_keeps_what_came(
    cache: BuildCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = build_cache.write_all

    def write(fd: int, data: bytes) -> None:
        if len(data) > 1_000_000:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        right(fd, data)

    monkeypatch.setattr(build_cache, "write_all", write)
    shelf = Shelf()
    with pytest.raises(MachineError, match="cannot be written"):
        shelf.holding().restore(shelf.packs, cache)
    assert [cache.row(row.key) for row in shelf.rows[:2]] == list(shelf.rows[:2])
    assert len(files(cache)) == 4


def test_what_does_not_fit_is_not_begun(cache: BuildCache, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf()
    size = sum(row.size for row in shelf.rows)
    status = os.statvfs(cache.path)

    def free(size: int) -> None:
        values = [*status]
        values[1], values[4] = 1, size
        monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(values))

    free(size + (64 << 20))
    with pytest.raises(NoRoom, match="not enough room") as raised:
        shelf.holding().restore(shelf.packs, cache)
    assert "64 MiB" not in raised.value.why.partition(";")[0]
    assert files(cache) == []
    free(2 * size + (64 << 20))
    shelf.holding().restore(shelf.packs, cache)
    assert len(files(cache)) == 6


def test_nobody_sees_less_than_a_whole_output(cache: BuildCache) -> None:
    """While an output is written it has no name."""
    row = row_of(CONTENTS[2])
    seen: list[list[str]] = []

    def chunks() -> Iterator[bytes]:
        yield CONTENTS[2][:1000]
        seen.append(files(cache))
        yield CONTENTS[2][1000:]
        seen.append(files(cache))

    cache.place(Content(row.content, row.size), chunks())
    assert seen == [[], []]
    assert output(cache, row).read_bytes() == CONTENTS[2]


# --- waiting -------------------------------------------------------------------------------------


def test_time_is_up_for_good() -> None:
    patience = CachePatience(CancelToken())
    patience.check()
    began = time.monotonic()
    with pytest.raises(TooSlow, match="given up"), patience.within(0.05):
        pause(30, patience.token)
    assert time.monotonic() - began < 5
    with pytest.raises(TooSlow):
        patience.check()
    with pytest.raises(TooSlow), patience.within(None):
        pause(30, patience.token)


def test_a_place_that_is_left_was_not_too_slow() -> None:
    # A build that fails leaves its places while they are still being read.
    patience = CachePatience(CancelToken())
    with pytest.raises(Cancelled), patience.within(30):
        threading.Timer(0.05, patience.leave).start()
        pause(30, patience.token)
    with pytest.raises(Cancelled):
        patience.check()


def test_what_is_in_time_is_not_disturbed() -> None:
    before = set(threading.enumerate())
    patience = CachePatience(CancelToken())
    with patience.within(0.05):
        pass
    time.sleep(0.1)
    patience.check()
    started = set(threading.enumerate()) - before
    assert not [one for one in started if isinstance(one, threading.Timer)]


def test_the_users_stop_is_no_slowness() -> None:
    user = CancelToken()
    patience = CachePatience(user)
    threading.Timer(0.05, user.cancel).start()
    with pytest.raises(Cancelled), patience.within(30):
        pause(30, patience.token)


def test_time_is_bounded_whatever_a_stranger_says() -> None:
    huge = Pack("build", Descriptor(PACK_TYPE, sha256(b""), 1 << 50),
                Descriptor(TABLE_TYPE, sha256(b""), 9), 1 << 50, 9, 1)  # fmt: skip
    assert fetching((huge,)) == 300
    assert sending(1 << 50) == 600
    some = huge._replace(content=742_000_000)
    # What caddy's packages take to compile is more than what fetching them takes anywhere.
    assert 60 < fetching((some,)) < 200
    assert fetching((some._replace(kind="modules", content=50_000_000),)) == 50
