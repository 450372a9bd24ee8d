# SPDX-License-Identifier: Apache-2.0
"""Copies of whole trees, and what differs between them. The worker's tests try overlayfs, too."""

from __future__ import annotations

import os
import resource
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.fstree.removal import remove_tree
from wherry.sandbox.exchange import Scanned
from wherry.sandbox.scanning import scan_snapshot
from wherry.sandbox.settling import settle_whole
from wherry.sandbox.step_spec import Change
from wherry.sandbox.tree_copy import Copied, copy_tree, next_change

OLD_NS = 1_500_000_000_123_456_789


class Copy:
    """A tree, its copy, and how the copy differs."""

    def __init__(self, place: Path) -> None:
        self.old, self.new = place / "old", place / "staged" / "fs"
        for path in (self.old, self.new):
            path.mkdir(parents=True)
        self._place = place

    def make(self) -> None:
        directories = copy_tree(str(self.old), str(self.new))
        self._copied = Copied(next_change(str(self._place)), directories)

    def settle(self) -> Change:
        changes = self.new.parent / "changes"
        return settle_whole(str(self.new), str(self.old), self._copied, str(changes))

    def rows(self) -> dict[str, Scanned]:
        change = self.settle()
        rows = list(scan_snapshot(str(self.new.parent), ""))
        assert change.empty == (not rows)
        return {row.path: row for row in rows}


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    yield Copy(tmp_path)
    # Deeper than what pytest itself could remove.
    remove_tree(str(tmp_path))


def test_a_copy_has_all_that_files_have(copy: Copy) -> None:
    (copy.old / "d").mkdir()
    file = copy.old / "d" / "file"
    file.write_bytes(b"content")
    os.link(file, copy.old / "second")
    (copy.old / "link").symlink_to("nowhere")
    os.mkfifo(copy.old / "pipe")
    os.setxattr(file, "user.mark", b"yes")
    file.chmod(0o4751)
    for path in ("d/file", "d", "link", "pipe"):
        os.utime(copy.old / path, ns=(OLD_NS, OLD_NS), follow_symlinks=False)
    (copy.old / "d").chmod(0o2750)
    os.utime(copy.old, ns=(OLD_NS, OLD_NS))
    copy.make()
    for path in ("", "d", "d/file", "link", "pipe"):
        old, new = os.lstat(copy.old / path), os.lstat(copy.new / path)
        assert (new.st_mode, new.st_uid, new.st_gid) == (old.st_mode, old.st_uid, old.st_gid), path
        assert new.st_mtime_ns == OLD_NS, path
    assert (copy.new / "second").stat().st_ino == (copy.new / "d" / "file").stat().st_ino
    assert (copy.new / "second").stat().st_ino != file.stat().st_ino
    assert (copy.new / "second").read_bytes() == b"content"
    assert os.getxattr(copy.new / "second", "user.mark") == b"yes"
    assert os.readlink(copy.new / "link") == "nowhere"
    assert copy.rows() == {}


def test_holes_stay_holes(copy: Copy) -> None:
    with open(copy.old / "sparse", "wb") as file:
        file.seek(8 << 20)
        file.write(b"middle")
        file.truncate(64 << 20)
    copy.make()
    status = (copy.new / "sparse").stat()
    assert status.st_size == 64 << 20
    assert status.st_blocks * 512 < 1 << 20
    with open(copy.new / "sparse", "rb") as file:
        file.seek((8 << 20) - 2)
        assert file.read(10) == b"\0\0middle\0\0"


def test_what_is_as_before_is_no_change(copy: Copy) -> None:
    for name in ("a", "b", "c"):
        (copy.old / name).write_bytes(b"x")
    copy.make()
    os.close(os.open(copy.new / "a", os.O_RDWR))
    (copy.new / "b").chmod(0o600)
    (copy.new / "b").chmod((copy.old / "b").stat().st_mode & 0o7777)
    before = (copy.new / "c").stat()
    (copy.new / "c").unlink()
    (copy.new / "c").write_bytes(b"x")
    (copy.new / "c").chmod(before.st_mode & 0o7777)
    os.utime(copy.new / "c", ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert copy.rows() == {}


def test_other_bytes_under_the_same_time_and_size_are_a_change(copy: Copy) -> None:
    (copy.old / "a").write_bytes(b"one")
    os.utime(copy.old / "a", ns=(OLD_NS, OLD_NS))
    copy.make()
    (copy.new / "a").write_bytes(b"two")
    os.utime(copy.new / "a", ns=(OLD_NS, OLD_NS))
    assert set(copy.rows()) == {"a"}


def test_a_directory_made_again_is_opaque(copy: Copy) -> None:
    for name in ("d", "e"):
        (copy.old / name).mkdir()
        (copy.old / name / "x").write_bytes(b"x")
    copy.make()
    (copy.new / "d" / "x").unlink()
    (copy.new / "d").rmdir()
    (copy.new / "d").mkdir()
    (copy.new / "e" / "x").unlink()
    rows = copy.rows()
    assert rows["d"].opaque
    assert not rows["e"].opaque
    assert rows["e/x"].kind == "whiteout"
    assert set(rows) == {"d", "e", "e/x"}


def test_a_second_name_of_an_old_file_is_a_file(copy: Copy) -> None:
    (copy.old / "a").write_bytes(b"x")
    copy.make()
    os.link(copy.new / "a", copy.new / "b")
    (copy.new / "c").write_bytes(b"y")
    os.link(copy.new / "c", copy.new / "d")
    rows = copy.rows()
    assert set(rows) == {"b", "c", "d"}
    assert rows["b"].inode == 0
    assert rows["c"].inode == rows["d"].inode != 0


def test_sockets_are_left_out_but_hide(copy: Copy) -> None:
    (copy.old / "a").write_bytes(b"x")
    copy.make()
    (copy.new / "a").unlink()
    for name in ("a", "b"):
        with socket.socket(socket.AF_UNIX) as end:
            descriptor = os.open(copy.new, os.O_PATH)
            end.bind(f"/proc/self/fd/{descriptor}/{name}")
            os.close(descriptor)
    rows = copy.rows()
    assert {path: row.kind for path, row in rows.items()} == {"a": "whiteout"}


@pytest.fixture
def deep_stack() -> Iterator[None]:
    """The worker's limits, as it sets them."""
    frames, files = sys.getrecursionlimit(), resource.getrlimit(resource.RLIMIT_NOFILE)
    sys.setrecursionlimit(6000)
    yield
    sys.setrecursionlimit(frames)
    resource.setrlimit(resource.RLIMIT_NOFILE, files)


@pytest.mark.usefixtures("deep_stack")
def test_deep_trees_are_followed_and_absurd_ones_refused(copy: Copy) -> None:
    deep = copy.old.joinpath(*("d" * 600))
    deep.mkdir(parents=True)
    copy.make()
    copy.new.joinpath(*("d" * 600), "file").write_bytes(b"x")
    rows = copy.rows()
    assert len(rows) == 601
    (copy.new.parent / "changes").unlink()
    here = os.open(copy.new, os.O_RDONLY)
    for _ in range(1100):
        if not os.path.isdir(f"/proc/self/fd/{here}/d"):
            os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    with pytest.raises(OSError, match="nested deeper"):
        copy.settle()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write such attributes")
def test_what_this_machine_alone_knows_of_a_file_is_no_change(copy: Copy) -> None:
    for name in ("labelled", "listed", "marked"):
        (copy.old / name).write_bytes(b"x")
    copy.make()
    os.setxattr(copy.new / "labelled", "security.label", b"here")
    os.setxattr(copy.new / "labelled", "trusted.note", b"here")
    os.setxattr(copy.new / "marked", "user.mark", b"yes")
    # user::rw-, group::r--, other::--- and a reader, as linux/posix_acl_xattr.h has them.
    entries = ((1, 6, -1), (2, 4, 1000), (4, 4, -1), (16, 4, -1), (32, 0, -1))
    readers = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    os.setxattr(copy.new / "listed", "system.posix_acl_access", readers)
    rows = copy.rows()
    assert {path: row.xattrs for path, row in rows.items()} == {
        # Later steps obey it, but no layer holds it.
        "listed": (),
        "marked": (("user.mark", b"yes"),),
    }
