# SPDX-License-Identifier: Apache-2.0
"""Snapshots and cache mounts in the size cap and in prune; trees that only others may remove."""

import os
import shutil
from pathlib import Path

import pytest

from store_samples import HOUR, Clock, put_snapshot
from wherry.errors import MachineError
from wherry.store import session, trash
from wherry.store.store import open_store
from wherry.store.usage import Kind


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def mapped(monkeypatch):
    """Trees that hold a file called `mapped` are others': the plain user removes none of it."""
    plain = session.remove_tree

    def refused(path):
        if not any("mapped" in names for _, _, names in os.walk(path)):
            plain(path)

    for module in (session, trash):
        monkeypatch.setattr(module, "remove_tree", refused)


def put_mapped(store, key):
    path = put_snapshot(store, key, 50_000)
    Path(path, "fs", "mapped").write_text("x")
    return path


def remove(paths):
    for path in paths:
        shutil.rmtree(path)


def test_usage_counts_snapshots_as_they_were_made_and_mounts_as_they_are(tmp_path):
    with open_store(tmp_path) as store:
        before = store.usage()
        put_snapshot(store, "place/a", 123_456)
        with store.mounts.hold("go") as mount:
            Path(mount.path, "big").write_bytes(b"x" * 50_000)
        after = store.usage()
    assert (before.snapshots, before.mounts) == (0, 0)
    assert after.snapshots == 123_456
    assert 50_000 <= after.mounts <= 60_000
    assert after.total == sum(after)


def test_the_least_recently_used_goes_first_whatever_it_is(tmp_path, clock):
    with open_store(tmp_path, clock=clock) as store:
        for number in range(4):
            clock.time += HOUR
            with open_store(tmp_path, clock=clock) as other:
                put_snapshot(other, f"place/{number}", 100_000)
        clock.time += HOUR
        with open_store(tmp_path, clock=clock) as other, other.mounts.hold("go") as mount:
            Path(mount.path, "big").write_bytes(b"x" * 100_000)
        clock.time += HOUR
        with open_store(tmp_path, clock=clock) as other:
            assert other.snapshots.find("place/0")
        told = store.prune(target=store.usage().total - 250_000, dry_run=True)
        assert (told.snapshots, told.mounts, told.freed) == (3, 0, 300_000)
        done = store.prune(target=store.usage().total - 250_000)
        assert done._replace(remaining=0) == told._replace(remaining=0)
        assert [bool(store.snapshots.find(f"place/{number}")) for number in range(4)] == [
            True, False, False, False,
        ]  # fmt: skip
        assert store.prune(target=store.usage().total - 1).mounts == 1
        assert store.snapshots.find("place/0")
        assert store.prune(everything=True).snapshots == 1
        assert store.usage().snapshots == store.usage().mounts == 0


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_another_open_store_uses_stays(tmp_path, clock, dry_run):
    with open_store(tmp_path, clock=clock) as store:
        put_snapshot(store, "place/used")
        put_snapshot(store, "place/old")
        for name in ("held", "left"):
            with store.mounts.hold(name):
                pass
        clock.time += 5 * HOUR
        with open_store(tmp_path, clock=clock) as user, user.mounts.hold("held") as mount:
            path = user.snapshots.find("place/used")
            new = put_snapshot(user, "place/new")
            clock.time += 20 * HOUR
            pruned = store.prune(everything=True, dry_run=dry_run)
            assert (pruned.snapshots, pruned.mounts) == (1, 1)
            assert os.path.isdir(mount.path)
            assert user.snapshots.find("place/used") == path
            assert user.snapshots.find("place/new") == new
        if not dry_run:
            assert store.snapshots.find("place/old") is None
            pruned = store.prune(everything=True)
            assert (pruned.snapshots, pruned.mounts) == (2, 1)


def test_a_held_cache_mount_stays_though_its_session_is_our_own(tmp_path):
    with open_store(tmp_path) as store:
        with store.mounts.hold("go"), store.work("w"):
            for dry_run in (True, False):
                pruned = store.prune(everything=True, dry_run=dry_run)
                assert (pruned.mounts, pruned.work) == (0, 0)
        assert store.prune(everything=True).mounts == 1


def test_what_is_used_between_plan_and_execution_stays(tmp_path, clock):
    def build(point):
        if point == "prune-planned":
            users.append(open_store(tmp_path, clock=clock))
            assert users[0].snapshots.find("place/old")
            with users[0].mounts.hold("go") as mount:
                assert mount.path == f"{tmp_path}/mounts/1/fs"

    users = []
    with open_store(tmp_path, clock=clock, hook=build) as store:
        put_snapshot(store, "place/old")
        with store.mounts.hold("go"):
            pass
        clock.time += 5 * HOUR
        pruned = store.prune(everything=True)
        assert (pruned.snapshots, pruned.mounts) == (0, 0)
        users[0].close()
        assert store.snapshots.find("place/old")


def test_the_cap_is_held_over_snapshots(tmp_path, clock):
    with open_store(tmp_path, 500_000, clock=clock) as store:
        for number in range(10):
            clock.time += HOUR
            with open_store(tmp_path, 500_000, clock=clock) as build:
                put_snapshot(build, f"place/{number}", 100_000)
            # A lone build prunes at its own end.
            put_snapshot(store, f"small/{number}", 1)
            store.enforce_limit()
            assert store.usage().total <= 610_000
        assert store.snapshots.find("place/0") is None
        assert store.snapshots.find("place/9")


def test_a_directory_of_neither_key_nor_number_is_nobodys(tmp_path):
    """What a kill between rename and commit leaves goes; what is not ours stays."""
    with open_store(tmp_path) as store:
        put_snapshot(store, "place/a")
        for name in ("snapshots/zz/fs", "mounts/zz/fs", "snapshots/not-a-number"):
            os.makedirs(tmp_path / name)
        pruned = store.prune()
        assert (pruned.snapshots, pruned.mounts) == (1, 1)
        assert sorted(os.listdir(tmp_path / "snapshots")) == ["1", "not-a-number"]


def test_items_are_told_one_by_one(tmp_path, clock):
    with open_store(tmp_path, clock=clock) as store, store.mounts.hold("go"):
        put_snapshot(store, "place/a", 77)
        found = {item.key: item for item in store.survey().all}
        assert found["place/a"][:4] == (Kind.SNAPSHOT, "1", 77, clock.time)
        assert found["go"].used_at == float("inf")


@pytest.mark.usefixtures("mapped")
def test_trees_of_other_ids_go_to_the_remover_in_one_call(tmp_path):
    asked = []

    def remover(paths):
        asked.append(paths)
        remove(paths)

    with open_store(tmp_path, remover=remover) as store:
        put_snapshot(store, "place/plain")
        for number in range(3):
            put_mapped(store, f"place/{number}")
        with store.mounts.hold("go") as mount:
            Path(mount.path, "mapped").write_text("x" * 5000)
        pruned = store.prune(everything=True)
        assert (pruned.snapshots, pruned.mounts, pruned.refused) == (4, 1, "")
        assert pruned.freed >= 155_000
        assert [len(paths) for paths in asked] == [4]
        assert all(path.startswith(f"{tmp_path}/tmp/") for path in asked[0])
        assert store.usage().tmp == 0
    assert os.listdir(tmp_path / "tmp") == []


@pytest.mark.usefixtures("mapped")
@pytest.mark.parametrize("known", [True, False])
def test_where_the_machine_refuses_the_trees_stay_and_one_line_says_so(tmp_path, known):
    def refuse(_paths):
        asked.append(1)
        raise MachineError("this machine refuses", why="many\nlines", hint="run the sysctl")

    asked = []
    told = []
    with open_store(tmp_path, remover=refuse if known else None) as store:
        put_mapped(store, "place/a")
        put_mapped(store, "place/b")
        pruned = store.prune(everything=True)
        assert (pruned.snapshots, pruned.freed) == (0, 0), "what stays frees nothing"
        assert pruned.refused.startswith(f"2 directories in {tmp_path}/tmp cannot be removed: ")
        assert pruned.refused.endswith("(run the sysctl)") is known
        assert ("as root: rm -rf" in pruned.refused) is not known
        assert "\n" not in pruned.refused
        assert store.snapshots.find("place/a") is None
    assert len(asked) == known
    with open_store(tmp_path, sink=told.append, remover=refuse if known else None) as store:
        assert store.usage().tmp > 0, "they are still counted"
        store.enforce_limit()
        assert len(told) == 1
        assert "1 directory in" in told[0].text
        pruned = store.prune(dry_run=True)
        assert pruned.leftovers == 1
    with open_store(tmp_path, remover=remove) as store:
        pruned = store.prune()
        assert (pruned.leftovers, pruned.refused) == (1, "")
        assert pruned.freed > 0
    assert os.listdir(tmp_path / "tmp") == []
    assert [name for name in os.listdir(tmp_path / "locks") if name.startswith("tmp-")] == []


@pytest.mark.usefixtures("mapped")
def test_what_a_step_staged_in_other_ids_goes_at_the_end_of_the_build(tmp_path):
    with open_store(tmp_path, remover=remove) as store:
        staged = store.snapshots.stage()
        Path(staged, "mapped").write_text("x")
        store.snapshots.discard(staged)
        assert os.path.exists(staged)
        store.enforce_limit()
        assert not os.path.exists(staged)
