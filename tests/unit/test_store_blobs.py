# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import pytest

from wherry.errors import InternalError, MachineError
from wherry.oci.digest import sha256
from wherry.store.store import open_store


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "store") as opened:
        yield opened


def staged(store):
    return [path for path in Path(store.path, "tmp").rglob("*") if path.is_file()]


def test_put_gives_the_bytes_back(store):
    digest = store.blobs.put(b"hello")
    assert digest == sha256(b"hello")
    assert store.blobs.read(digest) == b"hello"
    with store.blobs.open(digest) as file:
        assert file.read(2) == b"he"
    assert Path(store.blobs.path(digest)).read_bytes() == b"hello"
    assert os.stat(store.blobs.path(digest)).st_mode & 0o777 == 0o600


def test_has_looks_at_the_size(store):
    digest = store.blobs.put(b"hello")
    assert store.blobs.has(digest)
    assert store.blobs.has(digest, 5)
    assert not store.blobs.has(digest, 4)
    assert not store.blobs.has(sha256(b"other"))


def test_a_blob_that_is_there_is_not_written_again(store):
    path = store.blobs.path(store.blobs.put(b"hello"))
    inode = os.stat(path).st_ino
    store.blobs.put(b"hello")
    assert os.stat(path).st_ino == inode


def test_a_blob_of_wrong_size_is_written_again(store):
    digest = store.blobs.put(b"hello")
    Path(store.blobs.path(digest)).write_bytes(b"hell")
    store.blobs.put(b"hello")
    assert store.blobs.read(digest) == b"hello"


def test_writer_takes_pieces_and_any_buffer(store):
    with store.blobs.writer() as writer:
        writer.write(b"ab")
        writer.write(bytearray(b"cd"))
        writer.write(memoryview(b"ef"))
        writer.write(b"")
        assert not store.blobs.has(sha256(b"abcdef"))
        writer.commit(sha256(b"abcdef"), 6)
    assert store.blobs.read(sha256(b"abcdef")) == b"abcdef"
    assert staged(store) == []


def test_leaving_without_commit_leaves_nothing(store):
    with pytest.raises(KeyError), store.blobs.writer() as writer:
        writer.write(b"half")
        assert len(staged(store)) == 1
        raise KeyError
    assert staged(store) == []
    assert list(Path(store.path, "blobs/sha256").iterdir()) == []


def test_commit_refuses_a_wrong_size(store):
    with pytest.raises(InternalError, match="3 bytes, not 4"), store.blobs.writer() as writer:
        writer.write(b"abc")
        writer.commit(sha256(b"abc"), 4)
    assert not store.blobs.has(sha256(b"abc"))


def test_a_damaged_blob_is_found_and_named(store):
    digest = store.blobs.put(b"hello")
    path = Path(store.blobs.path(digest))
    path.write_bytes(b"jello")
    with pytest.raises(MachineError) as caught:
        store.blobs.read(digest)
    assert str(digest) in caught.value.what
    assert str(path) in caught.value.hint


def test_a_missing_blob_is_named(store):
    digest = sha256(b"never")
    for ask in (store.blobs.open, store.blobs.read):
        with pytest.raises(MachineError) as caught:
            ask(digest)
        assert digest.hex in caught.value.why


def test_closing_removes_what_was_staged(tmp_path):
    store = open_store(tmp_path / "store")
    writer = store.blobs.writer()
    writer.write(b"half")
    store.close()
    assert list((tmp_path / "store/tmp").iterdir()) == []
    assert not list((tmp_path / "store/locks").glob("tmp-*"))
    with pytest.raises(MachineError):
        writer.commit(sha256(b"half"), 4)
    writer.__exit__(None, None, None)


def test_directories_removed_by_hand_come_back(store):
    os.rmdir(f"{store.path}/blobs/sha256")
    os.rmdir(f"{store.path}/tmp")
    digest = store.blobs.put(b"hello")
    assert store.blobs.read(digest) == b"hello"


def test_barrier_syncs_each_directory_once(store, monkeypatch):
    store.blobs.put(b"one")
    store.blobs.put(b"two")
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    store.barrier()
    store.barrier()
    assert synced == [f"{store.path}/blobs/sha256"]


def test_a_blob_is_synced_before_it_gets_its_name(tmp_path, monkeypatch):
    steps = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(fd):
        steps.append("fsync " + os.readlink(f"/proc/self/fd/{fd}").removeprefix(f"{tmp_path}/"))
        real_fsync(fd)

    def rename(source, target):
        steps.append(f"rename {target}".replace(f"{tmp_path}/", ""))
        real_rename(source, target)

    with open_store(tmp_path, hook=steps.append) as store:
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "rename", rename)
        steps.clear()
        digest = store.blobs.put(b"hello")
        store.records.put("layer", "k", b"v", [digest])
    name = steps[1].removeprefix("fsync ")
    assert name.startswith("tmp/")
    assert steps == [
        "blob-staged",
        f"fsync {name}",
        "blob-synced",
        f"rename blobs/sha256/{digest.hex}",
        "blob-renamed",
        "fsync blobs/sha256",
        "record-before",
        "record-after",
    ]
