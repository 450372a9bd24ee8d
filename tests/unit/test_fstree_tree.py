# SPDX-License-Identifier: Apache-2.0
"""Trees as values: order, implied parents, refusals, digests."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from wherry.errors import InternalError, UsageError
from wherry.fstree.tree import (
    Directory,
    Entry,
    File,
    HardLink,
    Inline,
    OnDisk,
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
}


@pytest.mark.parametrize(
    ("number", "field"),
    [
        (number, item.name)
        for number, entry in enumerate(FULL)
        for item in dataclasses.fields(entry)
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
