# SPDX-License-Identifier: Apache-2.0
"""Trees of Go modules in the store: counted, pruned like all else, never while one is in use."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from store_samples import HOUR, Clock, put_modules, put_snapshot
from wherry.errors import MachineError
from wherry.gocache.module_tree import StagedTree, discard, open_tree, plan_tree, sweep
from wherry.store import relief, trash
from wherry.store.go_modules import unfinished
from wherry.store.relief import relieve
from wherry.store.session import Session
from wherry.store.store import Store, open_store
from wherry.store.usage import IN_USE, Kind

HOLD = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), int(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path, how: str = "LOCK_SH") -> Iterator[subprocess.Popen[str]]:
    """Another process holds the lock of a directory."""
    number = {"LOCK_SH": 1, "LOCK_EX": 2}[how]
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), str(number)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
        holder.kill()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def trees(root: Path) -> list[str]:
    """What is in gocache/modules/, each by its first letter if it is a tree."""
    found = sorted(path.name for path in root.glob("gocache/modules/*"))
    return [name[0] if len(name) == 64 else name for name in found]


def restored(root: Path) -> str:
    """A tree as the caches that travel make it; its digest."""
    plan = plan_tree((), {})
    with StagedTree(f"{root}/gocache/modules", plan) as staged:
        staged.finish()[0].close()
    return plan.digest


def test_usage_counts_trees_listings_and_what_is_being_restored(tmp_path: Path) -> None:
    with open_store(tmp_path) as opened:
        assert opened.usage().modules == 0
        put_modules(opened, "a", 16_384)
        listings = tmp_path / "gocache" / "listings"
        listings.mkdir()
        (listings / "0123").write_bytes(b"x" * 4096)
        before = opened.usage()
        new = tmp_path / "gocache" / "modules" / ".new-1"
        new.mkdir()
        (new / "x").write_bytes(b"x" * 8192)
        after = opened.usage()
        items = {item.name: item for item in opened.survey().modules}
    assert before.modules == after.modules == 16_384 + 4096
    assert after.tmp - before.tmp == 8192
    assert after.total == sum(after)
    assert sorted(items) == ["a" * 64, "listings"]
    assert all(item.kind is Kind.MODULES for item in items.values())
    assert items["listings"].size == 4096


def test_what_the_caches_make_is_what_the_store_counts(tmp_path: Path) -> None:
    """One protocol on both sides: names, locks, times."""
    with open_store(tmp_path) as opened:
        digest = restored(tmp_path)
        os.utime(tmp_path / "gocache" / "modules" / digest, (1.0, 1.0))
        tree = open_tree(f"{tmp_path}/gocache/modules", digest)
        assert tree is not None
        with tree:
            (item,) = opened.survey().modules
            assert (item.name, item.used_at) == (digest, IN_USE)
            assert opened.prune(everything=True).modules == 0
        (item,) = opened.survey().modules
        assert time.time() - 60 < item.used_at <= time.time() + 1
        assert opened.prune(everything=True).modules == 1
        assert open_tree(f"{tmp_path}/gocache/modules", digest) is None
        assert restored(tmp_path) == digest


def test_the_least_recently_used_goes_first_among_all_kinds(tmp_path: Path, clock: Clock) -> None:
    with open_store(tmp_path, clock=clock) as opened:
        for number, letter in enumerate("abc"):
            put_modules(opened, letter, 100_000, clock.time + number * 2 * HOUR)
        clock.time += HOUR
        with open_store(tmp_path, clock=clock) as other:
            put_snapshot(other, "place/0", 100_000)
        clock.time += 9 * HOUR
        target = opened.usage().total - 150_000
        told = opened.prune(target=target, dry_run=True)
        assert trees(tmp_path) == ["a", "b", "c"]
        assert (told.modules, told.snapshots) == (1, 1)
        done = opened.prune(target=target)
        assert done._replace(remaining=0) == told._replace(remaining=0)
        assert trees(tmp_path) == ["b", "c"]
        assert opened.prune(everything=True).modules == 2
        assert opened.usage().modules == 0


def test_a_tree_in_use_by_another_process_stays(tmp_path: Path) -> None:
    with open_store(tmp_path) as opened:
        for letter, used_at in (("a", 1.0), ("b", 2.0)):
            path = put_modules(opened, letter, used_at=used_at)
        oldest = path.parent / ("a" * 64)
        with held(oldest) as holder:
            assert opened.prune(everything=True, dry_run=True).modules == 1
            assert opened.prune(target=0).modules == 1
            assert len(list(oldest.glob("*/*/*.go"))) == 2
            # Its lock ends with the process, however that ends.
            holder.kill()
            holder.wait(30)
            assert opened.prune(target=0).modules == 1
        assert trees(tmp_path) == []


def test_a_tree_in_use_between_plan_and_execution_stays(tmp_path: Path) -> None:
    def use(point: str) -> None:
        if point == "prune-planned" and not used:
            tree = open_tree(f"{tmp_path}/gocache/modules", digest)
            assert tree is not None
            used.append(tree)

    used = []
    with open_store(tmp_path, hook=use) as opened:
        digest = restored(tmp_path)
        pruned = opened.prune(everything=True)
        assert pruned.modules == 0
        assert os.path.isfile(f"{used[0].path}/cache/wherry/checked")
        used[0].close()
        with open_store(tmp_path) as living:
            assert opened.prune(everything=True, dry_run=True).modules == 0, "used in this hour"
            assert living.usage().modules > 0
        assert opened.prune(everything=True).modules == 1


def test_the_size_limit_takes_trees_and_spares_the_one_in_use(tmp_path: Path) -> None:
    with open_store(tmp_path, 500_000) as opened:
        for number, letter in enumerate("abcdef"):
            put_modules(opened, letter, 100_000, float(number + 1))
        assert not opened.grew
        assert opened.enforce_limit() is not None, "nobody had looked at this store yet"
        assert "a" not in trees(tmp_path)
        assert opened.usage().total <= 500_000
        oldest = put_modules(opened, "0", 300_000, 1.0)
        assert opened.enforce_limit() is None, "nothing that it knew of was written"
        opened.note_written(300_000)
        assert opened.grew
        with held(oldest):
            assert opened.enforce_limit() is not None
        assert not opened.grew
        assert "0" in trees(tmp_path)
        assert opened.usage().total <= 500_000


@pytest.mark.parametrize("point", ["prune-planned", "prune-mounts", "prune-modules"])
def test_a_killed_prune_leaves_nothing_that_is_trusted(tmp_path: Path, point: str) -> None:
    code = (
        "import os, sys; from wherry.store.store import open_store\n"
        "def hook(point):\n"
        "    if point == sys.argv[2]: os.kill(os.getpid(), 9)\n"
        "with open_store(sys.argv[1], hook=hook) as opened: opened.prune(everything=True)\n"
    )
    with open_store(tmp_path) as opened:
        put_modules(opened, "a")
    done = subprocess.run([sys.executable, "-c", code, tmp_path, point], check=False)
    assert done.returncode == -signal.SIGKILL
    left = trees(tmp_path)
    assert left == ([] if point == "prune-modules" else ["a"])
    assert all(len(list(tmp_path.glob("gocache/modules/*/*/*/*.go"))) == 2 for _ in left)
    with open_store(tmp_path) as opened:
        opened.prune(everything=True)
        assert opened.usage().modules == opened.usage().tmp == 0


def test_a_tree_loses_its_name_before_any_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a full disk takes no new directory in tmp/."""

    def refused(_self: Session, _noun: str) -> str:
        raise OSError(28, "No space left on device")

    def dying(path: str) -> None:
        assert os.path.basename(path).startswith(".old-")
        # As if it were killed after the first file.
        next(Path(path).glob("*/*/*.go")).unlink()
        raise InterruptedError

    with open_store(tmp_path) as opened:
        put_modules(opened, "a")
        with monkeypatch.context() as patch:
            patch.setattr(Session, "staged_path", refused)
            patch.setattr(trash, "remove_tree", dying)
            with pytest.raises(MachineError) as caught:
                opened.prune(everything=True)
        assert isinstance(caught.value.__cause__, InterruptedError)
        assert trees(tmp_path) != ["a"]
        assert len(unfinished(opened.path)) == 1
        pruned = opened.prune()
        assert (pruned.leftovers, pruned.freed > 0) == (1, True)
        assert trees(tmp_path) == []


def test_what_dead_processes_left_goes_and_what_is_being_restored_stays(tmp_path: Path) -> None:
    with open_store(tmp_path) as opened:
        for name in (".new-dead", ".old-dead", ".new-alive"):
            path = tmp_path / "gocache" / "modules" / name
            path.mkdir(parents=True)
            (path / "x").write_bytes(b"x" * 4096)
        with held(path, "LOCK_EX"):
            told = opened.prune(dry_run=True)
            assert (told.leftovers, told.freed) == (2, 8192)
            assert len(trees(tmp_path)) == 3
            opened.enforce_limit()
            assert trees(tmp_path) == [".new-alive"]
            assert opened.prune(everything=True).leftovers == 0
        assert opened.prune().leftovers == 1
        assert trees(tmp_path) == []


def test_sweep_and_discard_of_the_caches_hold_to_the_same_locks(tmp_path: Path) -> None:
    with open_store(tmp_path) as opened:
        digest = restored(tmp_path)
        root = f"{tmp_path}/gocache/modules"
        with held(Path(root, digest)):
            assert not discard(root, digest)
            assert opened.prune(everything=True).modules == 0
        assert discard(root, digest)
        Path(root, ".new-dead").mkdir()
        sweep(root)
        assert opened.prune().leftovers == 0


def test_listings_are_one_item_that_goes_by_its_age(tmp_path: Path) -> None:
    with open_store(tmp_path) as opened:
        listings = tmp_path / "gocache" / "listings"
        listings.mkdir(parents=True)
        for number in range(3):
            (listings / str(number)).write_bytes(b"x" * 4096)
        os.utime(listings, (1.0, 1.0))
        put_modules(opened, "a", 100_000, 2.0)
        pruned = opened.prune(target=opened.usage().total - 1)
        assert (pruned.modules, pruned.freed) == (1, 3 * 4096)
        assert trees(tmp_path) == ["a"]
        assert not listings.exists()


def test_what_is_no_tree_of_the_caches_is_left_alone(tmp_path: Path) -> None:
    with open_store(tmp_path) as opened:
        place = tmp_path / "gocache" / "modules"
        place.mkdir(parents=True)
        for name in ("A" * 64, "a" * 63, "mine"):
            (place / name).mkdir()
        outside = tmp_path.parent / f"{tmp_path.name}-outside"
        outside.mkdir()
        (outside / "x").touch()
        (place / ("b" * 64)).symlink_to(outside)
        assert opened.prune(everything=True).modules == 0
        assert sorted(os.listdir(outside)) == ["x"]
        assert {"A" * 64, "a" * 63, "mine"} <= set(os.listdir(place))


def test_read_only_trees_go_for_their_owner(tmp_path: Path) -> None:
    with open_store(tmp_path) as opened:
        path = put_modules(opened, "a")
    for directory in (path / "example.com", path):
        directory.chmod(0o555)
    argv = [sys.executable, "-c"]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not installed")
        drop = "--bounding-set=-dac_override,-dac_read_search,-fowner"
        argv = ["setpriv", drop, "--inh-caps=-all", *argv]
    code = (
        "import sys; from wherry.store.store import open_store\n"
        "with open_store(sys.argv[1]) as opened: print(opened.prune(everything=True).modules)"
    )
    done = subprocess.run([*argv, code, tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert trees(tmp_path) == []
    assert os.listdir(tmp_path / "tmp") == []


def test_a_store_may_begin_with_them(tmp_path: Path) -> None:
    """`prepare` refuses directories of others: this one is the store's own."""
    (tmp_path / "gocache" / "listings").mkdir(parents=True)
    with open_store(tmp_path) as opened:
        assert isinstance(opened, Store)
        assert opened.survey().modules[0].name == "listings"


def test_room_on_a_full_disk_is_made_of_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(tmp_path) as opened:
        used = put_modules(opened, "a", used_at=1.0)
        for number, letter in enumerate("bcd"):
            put_modules(opened, letter, used_at=2.0 + number)
    dead = used.parent / ".new-dead"
    dead.mkdir()
    room = iter((0, 0, 0, relief._ENOUGH))
    monkeypatch.setattr(relief, "_room", lambda _root: next(room))
    living = Session(str(tmp_path), time.time, lambda _: None)
    try:
        with held(used):
            assert relieve(living)
    finally:
        living.close()
    # The leftover, the one in use (which stays), the oldest of the others.
    assert trees(tmp_path) == ["a", "c", "d"]
