# SPDX-License-Identifier: Apache-2.0
"""Snapshots: found by key while they are there, trusted only where the disk has them."""

import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from store_samples import HOUR, Clock, put_snapshot
from wherry.errors import MachineError
from wherry.store import snapshots, usage
from wherry.store.numbered import name_of, number_of
from wherry.store.store import open_store

KEY = "overlay-root/" + "ab" * 32


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def busy(monkeypatch):
    """A kernel with much to write, so that nothing settles."""
    monkeypatch.setattr(snapshots, "_is_quiet", lambda: False)


def boot(monkeypatch, name):
    for module in (snapshots, usage):
        monkeypatch.setattr(module, "boot_name", lambda: name)


def names(root):
    return sorted(os.listdir(Path(root, "snapshots")))


def test_a_snapshot_is_found_by_its_key_and_by_no_other(tmp_path):
    with open_store(tmp_path) as store:
        assert store.snapshots.find(KEY) is None
        path = put_snapshot(store, KEY)
        assert path == f"{tmp_path}/snapshots/1"
        assert store.snapshots.find(KEY) == path
        assert store.snapshots.find("overlay-one/" + "ab" * 32) is None
    with open_store(tmp_path) as store:
        assert store.snapshots.find(KEY) == path
        assert Path(path, "fs/name").read_text() == KEY
        assert os.stat(path).st_mode & 0o777 == 0o700


def test_a_snapshot_whose_directory_is_gone_is_not_found_and_can_be_made_again(tmp_path):
    with open_store(tmp_path) as store:
        first = put_snapshot(store, KEY)
        os.rename(first, tmp_path / "elsewhere")
        assert store.snapshots.find(KEY) is None
        second = put_snapshot(store, KEY)
        assert second != first, "a name is never used twice"
        assert store.snapshots.find(KEY) == second


def test_the_first_of_two_counts_and_the_other_is_dropped(tmp_path):
    with open_store(tmp_path) as store:
        winner = put_snapshot(store, KEY)
        staged = store.snapshots.stage()
        Path(staged, "fs").mkdir()
        assert store.snapshots.commit(KEY, staged, 1) == winner
        store.enforce_limit()
        assert not os.path.exists(staged)
        assert names(tmp_path) == ["1"]


def test_what_is_staged_and_not_committed_goes(tmp_path):
    with open_store(tmp_path) as store:
        dropped, forgotten = store.snapshots.stage(), store.snapshots.stage()
        Path(dropped, "work").mkdir(mode=0)
        store.snapshots.discard(dropped)
        assert not os.path.exists(dropped)
        Path(forgotten, "fs").mkdir()
    assert os.listdir(tmp_path / "tmp") == []


def test_a_store_of_an_earlier_release_gets_snapshots_and_mounts_on_first_use(tmp_path):
    with open_store(tmp_path) as store:
        store.records.put("k", "key", b"v", ())
    with sqlite3.connect(tmp_path / "state.db") as connection:
        for statement in ("DROP TABLE snapshots", "DROP TABLE mounts", "PRAGMA user_version = 2"):
            connection.execute(statement)
    connection.close()
    assert not os.path.exists(tmp_path / "snapshots")
    with open_store(tmp_path) as store:
        path = put_snapshot(store, KEY)
        with store.mounts.hold("cache") as mount:
            assert os.listdir(mount.path) == []
        assert store.snapshots.find(KEY) == path
        assert store.records.get("k", "key") == b"v"


def test_a_database_begun_anew_does_not_give_a_name_twice(tmp_path):
    with open_store(tmp_path) as store:
        old = [put_snapshot(store, f"place/{number}") for number in range(3)]
    for suffix in ("", "-wal", "-shm"):
        Path(f"{tmp_path}/state.db{suffix}").unlink(missing_ok=True)
    with open_store(tmp_path) as store:
        assert store.snapshots.find("place/0") is None
        path = put_snapshot(store, "place/0")
        assert path not in old
        assert store.snapshots.find("place/0") == path
        # The old ones have no key any more: garbage, unlike the new one.
        assert store.prune().snapshots == 3
        assert store.snapshots.find("place/0") == path


def test_finding_marks_the_use_once_an_hour(tmp_path, clock, monkeypatch):
    with open_store(tmp_path, clock=clock) as store:
        path = put_snapshot(store, KEY)
    writes = []
    utime = os.utime
    monkeypatch.setattr(os, "utime", lambda *args: writes.append(args[0]) or utime(*args))
    clock.time += 2 * HOUR
    for _ in range(3):
        with open_store(tmp_path, clock=clock) as store:
            for _ in range(3):
                assert store.snapshots.find(KEY) == path
    assert writes == [path]
    assert os.stat(path).st_mtime == clock.time


def test_many_snapshots_slow_nothing_down(tmp_path):
    """Times of an idle machine: 12 µs for each find, 0.1 s for the rest."""
    count = 3000
    with open_store(tmp_path) as store:
        connection = sqlite3.connect(tmp_path / "state.db")
        with connection:
            connection.executemany(
                "INSERT INTO snapshots VALUES (?, ?, 4096, '')",
                [(number, f"place/{number}") for number in range(1, count + 1)],
            )
        connection.close()
        os.mkdir(tmp_path / "snapshots")
        for number in range(1, count + 1):
            os.mkdir(f"{tmp_path}/snapshots/{name_of(number)}")
        began = time.perf_counter()
        for number in range(1, count + 1):
            assert store.snapshots.find(f"place/{number}")
        assert time.perf_counter() - began < count * 200e-6
        began = time.perf_counter()
        with open_store(tmp_path) as other:
            put_snapshot(other, KEY)
        assert store.prune(everything=True, dry_run=True).snapshots == count + 1
        assert time.perf_counter() - began < 2


def test_names_are_short_and_told_apart_from_others():
    assert [name_of(number) for number in (0, 35, 36, 36**6 - 1)] == ["0", "z", "10", "zzzzzz"]
    assert all(number_of(name_of(number)) == number for number in (0, 7, 10**9))
    assert [number_of(name) for name in ("", "01", "A", "a-b", "z" * 13)] == [None] * 5


def test_one_at_a_time_has_the_lock_of_a_key(tmp_path):
    order = []

    def work(name, snapshots):
        with snapshots.lock(KEY, lambda: None):
            order.append(name)
            time.sleep(0.02)
            order.append(name)

    with open_store(tmp_path) as store, open_store(tmp_path) as other:
        threads = [threading.Thread(target=work, args=(number, where.snapshots))
                   for number, where in enumerate((store, other, store, other))]  # fmt: skip
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert order[::2] == order[1::2]
    assert [name for name in os.listdir(tmp_path / "locks") if name.startswith("snap")] == []


def test_waiting_for_a_key_can_be_ended(tmp_path):
    class Stop(Exception):
        pass

    def stop():
        raise Stop

    with open_store(tmp_path) as store, store.snapshots.lock(KEY):
        with pytest.raises(Stop), store.snapshots.lock(KEY, stop):
            pytest.fail("held twice")
        with store.snapshots.lock("another", stop):
            pass


def test_a_place_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    with open_store(tmp_path) as store:
        staged = store.snapshots.stage()
        Path(staged, "fs").mkdir()

        def refuse(*_args):
            raise OSError(30, "Read-only file system")

        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", refuse)
            with pytest.raises(MachineError, match="cannot use") as caught:
                store.snapshots.commit(KEY, staged, 1)
        assert caught.value.why == "Read-only file system"
        assert store.snapshots.find(KEY) is None
        assert store.snapshots.commit(KEY, staged, 1) == store.snapshots.find(KEY)


@pytest.mark.usefixtures("busy")
def test_after_a_power_failure_what_was_not_written_out_is_not_trusted(tmp_path, monkeypatch):
    boot(monkeypatch, "first")
    with open_store(tmp_path) as store:
        path = put_snapshot(store, KEY)
    with open_store(tmp_path) as store:
        assert store.snapshots.find(KEY) == path
    boot(monkeypatch, "second")
    with open_store(tmp_path) as store:
        assert store.snapshots.find(KEY) is None
        again = put_snapshot(store, KEY)
        assert again != path
        assert store.snapshots.find(KEY) == again
        # The old directory has no key any more.
        assert [item.garbage for item in store.survey().snapshots] == [True, False]


@pytest.mark.usefixtures("busy")
def test_what_is_not_trusted_is_garbage(tmp_path, monkeypatch):
    boot(monkeypatch, "first")
    with open_store(tmp_path) as store:
        put_snapshot(store, "place/old")
    boot(monkeypatch, "second")
    with open_store(tmp_path) as store:
        kept = put_snapshot(store, "place/new")
        assert store.prune().snapshots == 1
        assert names(tmp_path) == [os.path.basename(kept)]


def test_what_was_written_out_is_trusted_after_another_start(tmp_path, monkeypatch):
    """By the end of a session that has snapshots, if the disk has little to do."""
    boot(monkeypatch, "first")
    monkeypatch.setattr(snapshots, "_is_quiet", lambda: False)
    with open_store(tmp_path) as store:
        path = put_snapshot(store, KEY)
    monkeypatch.setattr(snapshots, "_is_quiet", lambda: True)
    written = []
    monkeypatch.setattr(snapshots, "_write_out", written.append)
    with open_store(tmp_path) as store:
        store.snapshots.find(KEY)
        assert written == [], "not while a build runs"
    assert written == [str(tmp_path)]
    with open_store(tmp_path) as store:
        store.snapshots.find(KEY)
    assert len(written) == 1, "once"
    boot(monkeypatch, "second")
    with open_store(tmp_path) as store:
        assert store.snapshots.find(KEY) == path


def test_the_file_system_is_really_written_out(tmp_path):
    snapshots._write_out(str(tmp_path))
    with pytest.raises(OSError, match="No such file"):
        snapshots._write_out(f"{tmp_path}/none")


def test_a_disk_that_refuses_leaves_snapshots_untrusted(tmp_path, monkeypatch):
    def refuse(_path):
        raise OSError(5, "Input/output error")

    boot(monkeypatch, "first")
    monkeypatch.setattr(snapshots, "_write_out", refuse)
    monkeypatch.setattr(snapshots, "_is_quiet", lambda: True)
    with open_store(tmp_path) as store:
        put_snapshot(store, KEY)
        store.snapshots.settle(patient=True)
    boot(monkeypatch, "second")
    with open_store(tmp_path) as store:
        assert store.snapshots.find(KEY) is None


@pytest.mark.usefixtures("busy")
def test_without_a_name_for_the_boot_a_snapshot_counts_in_its_session_only(tmp_path, monkeypatch):
    boot(monkeypatch, "")
    with open_store(tmp_path) as store:
        path = put_snapshot(store, KEY)
        assert store.snapshots.find(KEY) == path
    with open_store(tmp_path) as store:
        assert store.snapshots.find(KEY) is None
        other = put_snapshot(store, KEY)
        store.snapshots.settle(patient=True)
    with open_store(tmp_path) as store:
        assert store.snapshots.find(KEY) == other


def test_how_busy_the_kernel_is_is_read_where_it_says_so(tmp_path, monkeypatch):
    facts = tmp_path / "meminfo"
    monkeypatch.setattr(snapshots, "_MEMORY_FACTS", str(facts))
    assert not snapshots._is_quiet()
    facts.write_text("MemTotal: 100 kB\nDirty:  32000 kB\nWriteback: 768 kB\n")
    assert snapshots._is_quiet()
    facts.write_text("Dirty:  32000 kB\nWriteback: 769 kB\n")
    assert not snapshots._is_quiet()
