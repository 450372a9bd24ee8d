# SPDX-License-Identifier: Apache-2.0
"""Large blobs that a registry has too: not waited for, and verified after the machine stopped."""

import os

import pytest

from wherry.oci.digest import Digest, sha256
from wherry.store.store import Store, open_store
from wherry.store.unsynced import Unsynced, boot_name

LARGE = 5 << 20
REPOSITORY = "registry.example.com/team/base"


@pytest.fixture
def synced(monkeypatch):
    """The paths that fsync was called on, in order."""
    paths: list[str] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        paths.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)
    return paths


def fetch(store: Store, data: bytes, source: str = REPOSITORY) -> Digest:
    digest = sha256(data)
    if source:
        store.sources.add(digest, source)
    with store.blobs.fetched.writer() as writer:
        writer.write(data)
        writer.commit(digest, len(data))
    return digest


def marks(root) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.glob("unsynced/*/*"))


def stopped(root) -> None:
    """As after the machine started anew: the marks are of an earlier boot."""
    os.rename(root / "unsynced" / boot_name(), root / "unsynced" / "earlier")


def test_a_large_blob_of_a_registry_is_marked_and_not_synced(tmp_path, synced):
    with open_store(tmp_path) as store:
        synced.clear()
        digest = fetch(store, b"x" * LARGE)
        assert store.blobs.has(digest, LARGE)
    assert not [path for path in synced if "/tmp/" in path.removeprefix(str(tmp_path))]
    assert marks(tmp_path) == [f"unsynced/{boot_name()}/sha256-{digest.hex}"]


def test_the_mark_is_on_the_disk_before_the_blob_has_its_name(tmp_path, monkeypatch):
    order: list[str] = []
    fsync, rename = os.fsync, os.rename

    def noted(fd: int) -> None:
        order.append(os.readlink(f"/proc/self/fd/{fd}").removeprefix(f"{tmp_path}/"))
        fsync(fd)

    def renamed(source: str, target: str) -> None:
        order.append("rename")
        rename(source, target)

    with open_store(tmp_path) as store:
        monkeypatch.setattr(os, "fsync", noted)
        monkeypatch.setattr(os, "rename", renamed)
        fetch(store, b"x" * LARGE)
    assert f"unsynced/{boot_name()}" in order[: order.index("rename")]


@pytest.mark.parametrize(("size", "source"), [(LARGE, ""), (1000, REPOSITORY)])
def test_what_cannot_be_fetched_again_or_is_small_is_synced(tmp_path, synced, size, source):
    with open_store(tmp_path) as store:
        synced.clear()
        fetch(store, b"x" * size, source)
    assert [path for path in synced if "/tmp/" in path.removeprefix(str(tmp_path))]
    assert marks(tmp_path) == []


def test_what_wherry_built_is_always_synced(tmp_path, synced):
    with open_store(tmp_path) as store:
        data = b"x" * LARGE
        store.sources.add(sha256(data), REPOSITORY)
        synced.clear()
        store.blobs.put(data)
    assert [path for path in synced if "/tmp/" in path.removeprefix(str(tmp_path))]


@pytest.mark.parametrize("damage", ["cut", "zeros"])
def test_a_blob_that_a_power_failure_took_is_lazy_again(tmp_path, damage):
    with open_store(tmp_path) as store:
        digest, whole = fetch(store, b"x" * LARGE), fetch(store, b"y" * LARGE)
        path = store.blobs.path(digest)
    stopped(tmp_path)
    if damage == "cut":
        os.truncate(path, LARGE // 2)
    else:
        with open(path, "r+b") as file:
            file.seek(LARGE - 4096)
            file.write(bytes(4096))
    told: list[str] = []
    with open_store(tmp_path, sink=lambda event: told.append(str(event))) as store:
        assert not store.blobs.has(digest)
        assert store.blobs.known(digest)
        assert store.blobs.has(whole, LARGE)
    assert len(told) == 1
    assert "1 layers had not reached the disk" in told[0]
    assert marks(tmp_path) == []
    assert os.listdir(tmp_path / "unsynced") == []


def test_a_mark_whose_blob_was_removed_and_one_that_is_none_of_ours_go(tmp_path):
    with open_store(tmp_path) as store:
        digest = fetch(store, b"x" * LARGE)
        path = store.blobs.path(digest)
    stopped(tmp_path)
    os.unlink(path)
    (tmp_path / "unsynced" / "earlier" / "what-is-this").touch()
    with open_store(tmp_path) as store:
        assert not store.blobs.has(digest)
    assert marks(tmp_path) == []


def test_marks_of_this_boot_stay_until_the_disk_had_its_time(tmp_path):
    with open_store(tmp_path) as store:
        digest = fetch(store, b"x" * LARGE)
        store.enforce_limit()
        assert len(marks(tmp_path)) == 1
        os.utime(tmp_path / marks(tmp_path)[0], (1, 1))
        store.enforce_limit()
        assert marks(tmp_path) == []
        assert store.blobs.has(digest, LARGE)


def test_without_a_name_for_the_boot_everything_is_synced(tmp_path, synced):
    with open_store(tmp_path) as store:
        store.blobs.unsynced = Unsynced(store.blobs.session, boot="")
        synced.clear()
        fetch(store, b"x" * LARGE)
    assert [path for path in synced if "/tmp/" in path.removeprefix(str(tmp_path))]
