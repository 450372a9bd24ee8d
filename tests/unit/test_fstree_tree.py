# SPDX-License-Identifier: Apache-2.0
"""Trees as values: order, implied parents, refusals, digests."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest

from wherry.errors import InternalError, UsageError
from wherry.fstree.tree import (
    Directory,
    Entry,
    File,
    HardLink,
    InLayer,
    Inline,
    OnDisk,
    Opened,
    Special,
    Symlink,
    Tree,
    Unread,
    make_tree,
)
from wherry.oci.digest import sha256

EMPTY = Inline(b"")


def test_parents_are_added_and_directories_stand_before_what_they_hold() -> None:
    tree = make_tree([File("a/b/c", EMPTY), File("a.txt", EMPTY), Directory("a", 0o700)])
    assert [entry.path for entry in tree.entries] == ["a", "a/b", "a/b/c", "a.txt"]
    assert tree.entries[0] == Directory("a", 0o700)
    assert tree.entries[1] == Directory("a/b", 0o755)


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", "./a", "a/..", "..", "a\0", ".wh.a", "d/.wh..wh..opq", "\ud800"],
)
def test_paths_that_no_layer_holds_are_refused(path: str) -> None:
    with pytest.raises(UsageError):
        make_tree([File(path, EMPTY)])


def test_two_spellings_of_one_name_cannot_meet() -> None:
    bytes_of_e_acute = b"\xc3\xa9".decode("ascii", "surrogateescape")
    with pytest.raises(UsageError, match="ambiguous"):
        make_tree([File("\xe9", EMPTY), File(bytes_of_e_acute, EMPTY)])


@pytest.mark.parametrize(
    "entries",
    [
        [File("a", EMPTY), Directory("a")],
        [File("a", EMPTY), File("a/b", EMPTY)],
        [Symlink("a", "b"), File("a/b", EMPTY)],
    ],
)
def test_one_path_is_one_thing(entries: list[Entry]) -> None:
    with pytest.raises(UsageError):
        make_tree(entries)


@pytest.mark.parametrize(
    "entries",
    [
        [HardLink("b", "a")],
        [HardLink("a", "b"), File("b", EMPTY)],  # the target would come too late
        [HardLink("b", "a"), Symlink("a", "x")],
        [Directory("a"), HardLink("b", "a")],
        [File("a", EMPTY, mode=0o10000)],
        [File("a", EMPTY, uid=-1)],
        [Directory("a", gid=2**32 - 1)],
        [File("a", EMPTY, xattrs=(("user.a=b", b""),))],
        [File("a", EMPTY, xattrs=(("user.a", b"1"), ("user.a", b"2")))],
        [Symlink("a", "")],
        [Symlink("a", "b", xattrs=(("", b""),))],
        [Directory("a", xattrs=(("user.a\0", b""),))],
        [Special("a", "char", 8**7, 0)],
        [Special("a", "fifo", mode=-1)],
        [Special("a", "block", uid=-1)],
        [Special("a", "fifo"), HardLink("b", "a")],
    ],
)
def test_entries_that_a_tar_cannot_say_are_a_fault(entries: list[Entry]) -> None:
    with pytest.raises(InternalError):
        make_tree(entries)


def test_size_counts_hard_links_once() -> None:
    assert make_tree([File("a", Inline(b"12345")), HardLink("b", "a")]).size == 5


def test_digest_does_not_depend_on_order_or_on_where_a_file_lies() -> None:
    one = make_tree([File("a", Inline(b"x")), File("b", Inline(b"y"))])
    other = make_tree([File("b", OnDisk("/nowhere", sha256(b"y"), 1)), File("a", Inline(b"x"))])
    assert one.digest == other.digest


FULL = (
    Directory("d"),
    File("f", Inline(b"x"), xattrs=(("user.a", b"1"),)),
    HardLink("h", "f"),
    Special("p", "char", 1, 3),
    Symlink("s", "f"),
)
CHANGES: dict[str, object] = {
    "path": "z",
    "mode": 0o711,
    "uid": 7,
    "gid": 7,
    "content": Inline(b"y"),
    "xattrs": (("user.a", b"2"),),
    "target": "d",
    "mtime": 0,
    "kind": "block",
    "major": 2,
    "minor": 4,
}


@pytest.mark.parametrize(
    ("number", "field"),
    [
        (number, item.name)
        for number, entry in enumerate(FULL)
        for item in dataclasses.fields(entry)
        if item.name != "inode"
    ],
)
def test_every_field_of_every_entry_changes_the_digest(number: int, field: str) -> None:
    changed = list(FULL)
    changed[number] = dataclasses.replace(FULL[number], **{field: CHANGES[field]})
    assert Tree(tuple(changed)).digest != Tree(FULL).digest


def test_an_unread_file_is_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"content")
    known = File("x", OnDisk(str(path), sha256(b"content"), 7))
    assert make_tree([File("x", Unread(str(path), 7))]).digest == make_tree([known]).digest


def test_trees_without_times_keep_the_digest_they_always_had() -> None:
    old = (Directory("d"), File("f", Inline(b"x")), HardLink("h", "f"), Symlink("s", "f"))
    assert Tree(old).digest.hex == (
        "a8fd245295bcf5dd4b991745db04fa6b3acd7bacdf8f4a45451548742a8bc92c"
    )


def test_inodes_are_no_part_of_a_file() -> None:
    one, other = File("f", Inline(b"x"), inode=1), File("f", Inline(b"x"), inode=2)
    assert one == other
    assert Tree((one,)).digest == Tree((other,)).digest


def test_where_a_content_lies_is_no_part_of_the_digest() -> None:
    digest = sha256(b"x")
    opened = File("f", Opened(lambda: io.BytesIO(b"x"), 1, digest))
    in_layer = File("f", InLayer(sha256(b"layer"), "type", 512, 1, digest))
    assert make_tree([opened]).digest == make_tree([in_layer]).digest
    assert make_tree([opened]).digest == make_tree([File("f", Inline(b"x"))]).digest
    assert opened.content == Opened(lambda: io.BytesIO(b"y"), 1, digest)
