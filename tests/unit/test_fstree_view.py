# SPDX-License-Identifier: Apache-2.0
"""Layers on top of each other as a value: the same tree that unpacking them makes on a disk."""

from __future__ import annotations

import io
import os
import stat
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer_samples import MTIME, Piece, index_of, packed
from wherry.errors import UsageError
from wherry.fstree.layer_index import LayerIndex
from wherry.fstree.tree import Directory, Entry, File, HardLink, Inline, Special, Symlink
from wherry.fstree.unpack import Ownership, unpack_layer
from wherry.fstree.view import View


def view(*layers: list[Piece]) -> View:
    found = View.empty()
    for layer in layers:
        found = found.with_layer(index_of(*layer))
    return found


def walk(files: View, path: str = "") -> Iterator[Entry]:
    for name in files.names(path):
        entry = files.entry(f"{path}/{name}" if path else name)
        assert entry is not None
        yield entry
        yield from walk(files, entry.path)


def paths(files: View) -> list[str]:
    return [entry.path for entry in walk(files)]


def test_the_empty_tree_has_a_root_only() -> None:
    empty = View.empty()
    assert empty.entry("") == Directory("")
    assert empty.entry("x") is None
    assert (empty.names(""), empty.names("x"), len(empty), empty.size) == ((), (), 0, 0)


def test_a_layer_on_top_changes_nothing_below() -> None:
    lower = view([Piece("a/x"), Piece("b")])
    upper = lower.with_layer(index_of(Piece("a/.wh.x"), Piece("c", data=b"1234")))
    assert paths(upper) == ["a", "b", "c"]
    assert paths(lower) == ["a", "a/x", "b"]
    assert (upper.size, lower.size, len(upper), len(lower)) == (4, 0, 3, 3)
    other = lower.with_layer(index_of(Piece("a/y")))
    assert paths(other) == ["a", "a/x", "a/y", "b"]
    assert upper.names("a") == ()


def test_a_hundred_layers_are_applied_at_once() -> None:
    found = View.empty()
    for number in range(2000):
        found = found.with_layer(LayerIndex((File(f"f{number % 500}", Inline(b"")),)))
    assert len(found) == 500


def test_directories_keep_what_they_hold_and_take_the_new_facts() -> None:
    found = view([Piece("d/x"), Piece("f")], [Piece("d", "dir", mode=0o700, uid=7), Piece("f/y")])
    with pytest.raises(UsageError, match="/f is a file and a directory at once"):
        found.entry("d")
    found = view([Piece("d/x"), Piece("f")], [Piece("d", "dir", mode=0o700, uid=7)])
    assert found.entry("d") == Directory("d", 0o700, 7, 0, mtime=MTIME)
    assert paths(found) == ["d", "d/x", "f"]
    found = found.with_layer(index_of(Piece("d", data=b"1"), Piece("f", "dir")))
    assert paths(found) == ["d", "f"]
    assert isinstance(found.entry("f"), Directory)


def test_the_root_may_be_an_entry() -> None:
    found = view([Piece("./", "dir", mode=0o700), Piece("./x")])
    assert found.entry("") == Directory("", 0o700, mtime=MTIME)
    assert found.names("") == ("x",)


def test_names_of_one_file_share_an_inode_across_layers() -> None:
    found = view(
        [Piece("x", data=b"123"), Piece("y", "hard", link="x"), Piece("z", data=b"123")],
        [Piece("w", "hard", link="/./y")],
    )
    inodes = {name: entry.inode for name in "wxyz" if isinstance(entry := found.entry(name), File)}
    assert inodes["w"] == inodes["x"] == inodes["y"] != 0
    assert inodes["z"] == 0
    assert found.size == 6
    replaced = found.with_layer(index_of(Piece("x", data=b"new")))
    assert replaced.size == 9
    assert isinstance(kept := replaced.entry("w"), File)
    assert kept.content.size == 3


def test_a_link_and_a_device_may_have_two_names() -> None:
    found = view([Piece("l", "link", link="x"), Piece("null", "char"),
                  Piece("a", "hard", link="l"), Piece("b", "hard", link="null")])  # fmt: skip
    assert found.entry("a") == Symlink("a", "x", mtime=MTIME)
    assert found.entry("b") == Special("b", "char", 1, 3, mtime=MTIME)


@pytest.mark.parametrize("target", ["none", "d", "d/none", "none/x", "new"])
def test_a_hard_link_to_nothing_is_refused(target: str) -> None:
    found = view([Piece("d/x")], [Piece("new", "hard", link=target)])
    with pytest.raises(UsageError, match="/new is a hard link to"):
        found.entry("new")


def test_an_entry_below_a_link_goes_where_the_link_leads_inside() -> None:
    found = view(
        [Piece("run", "dir"), Piece("var/run", "link", link="/run"),
         Piece("deep/up", "link", link="../../../run"), Piece("far", "link", link="not/there")],
        [Piece("var/run/a"), Piece("deep/up/b"), Piece("far/c"), Piece("var/.wh.none"),
         Piece("d", "hard", link="var/run/a")],
    )  # fmt: skip
    assert found.names("run") == ("a", "b")
    assert isinstance(found.entry("var/run"), Symlink)
    assert isinstance(found.entry("not/there/c"), File)
    assert found.entry("run/a") == File("run/a", Inline(b""), mtime=MTIME)
    assert found.entry("not") == Directory("not")
    assert isinstance(link := found.entry("d"), File)
    assert isinstance(real := found.entry("run/a"), File)
    assert link.inode == real.inode != 0


def test_whiteouts_reach_through_links_inside_only() -> None:
    found = view(
        [Piece("run/a"), Piece("run/b"), Piece("var/run", "link", link="../run")],
        [Piece("var/run/.wh.a")],
    )
    assert found.names("run") == ("b",)


@pytest.mark.parametrize("first", [True, False])
def test_an_opaque_directory_keeps_only_its_own_layer(first: bool) -> None:
    lower = [Piece("d/old"), Piece("d/sub/old"), Piece("d/both", data=b"old"), Piece("other")]
    new = [Piece("d/new"), Piece("d/sub/new"), Piece("d/both", data=b"new")]
    opaque = Piece("d/.wh..wh..opq")
    found = view(lower, [opaque, *new] if first else [*new, opaque])
    assert paths(found) == ["d", "d/both", "d/new", "d/sub", "d/sub/new", "other"]
    assert isinstance(both := found.entry("d/both"), File)
    assert both.content.size == 3


def test_a_layer_without_an_order_removes_first() -> None:
    lower = View.empty().with_layer(index_of(Piece("a/x"), Piece("b")))
    layer = LayerIndex((File("b", Inline(b"new")),), ("b",), ("a",))
    assert paths(lower.with_layer(layer)) == ["a", "b"]


def test_a_directory_may_go_and_come_again_in_one_layer() -> None:
    found = view([Piece("a/b/x")], [Piece("a/c"), Piece("a", data=b"1"), Piece("a", "dir"),
                                    Piece("a/b", "dir"), Piece("a/b/y")])  # fmt: skip
    assert paths(found) == ["a", "a/b", "a/b/y"]


def test_what_a_hard_link_needs_is_there_until_the_whiteout() -> None:
    found = view([Piece("x", data=b"1")], [Piece("y", "hard", link="x"), Piece(".wh.x")])
    assert paths(found) == ["y"]
    again = view([Piece("x", data=b"1")], [Piece(".wh.x"), Piece("y", "hard", link="x")])
    with pytest.raises(UsageError):
        again.entry("y")


def test_links_in_a_circle_and_absurd_depth_end() -> None:
    circle = view([Piece("a", "link", link="b"), Piece("b", "link", link="a"), Piece("a/x")])
    with pytest.raises(UsageError, match="too many links"):
        circle.entry("a")
    deep = View.empty().with_layer(LayerIndex((File("d/" * 300 + "x", Inline(b"")),)))
    with pytest.raises(UsageError, match="too many links or directories"):
        deep.entry("d")


def test_few_bytes_do_not_imply_endless_directories() -> None:
    entries: list[Entry] = [
        File(f"{number}/" + "d/" * 250 + "x", Inline(b"")) for number in range(4100)
    ]
    found = View.empty().with_layer(LayerIndex(tuple(entries)))
    with pytest.raises(UsageError, match="implies more than"):
        found.entry("x")


def test_a_root_that_is_no_directory() -> None:
    found = View.empty().with_layer(LayerIndex((File("", Inline(b"")),)))
    with pytest.raises(UsageError):
        found.entry("")


NAMES = st.sampled_from(["a", "b", "c", "a/b", "b/a", "a/b/c", "c/a", "./a", "/b/c", "b//c", "c/"])
TARGETS = st.sampled_from(["a", "b", "/c", "../b", "../../a", "./c", "a/b", "/", ".", "/a/../b"])
# No set-gid directories: on a disk, those give their group to what is implied in them.
MODES = st.sampled_from([0o644, 0o755, 0o4711, 0o1777, 0o700])
IDS = st.integers(0, 3)
MARKS = st.sampled_from([
    ".wh.a", "a/.wh.b", "b/.wh.a", ".wh..wh..opq", "a/.wh..wh..opq", "b/.wh..wh..opq", "a/b/.wh.c",
    ".wh..wh.plnk/x", "c/.wh.b",
])  # fmt: skip


def pieces(kind: str, names: st.SearchStrategy[str], **fields: object) -> st.SearchStrategy[Piece]:
    """`st.builds` would also draw what has a default."""
    values = {key: value for key, value in fields.items() if isinstance(value, st.SearchStrategy)}
    drawn = st.fixed_dictionaries({"name": names, **values})
    return drawn.map(lambda found: Piece(kind=kind, **found))


PIECES = st.one_of(
    pieces("file", NAMES, data=st.binary(max_size=3), mode=MODES, uid=IDS, mtime=st.integers(0, 9)),
    pieces("dir", NAMES | st.just("./"), mode=MODES, uid=IDS, gid=IDS),
    pieces("link", NAMES, link=TARGETS, uid=IDS, mtime=st.integers(0, 2**31)),
    pieces("hard", NAMES, link=NAMES),
    pieces("file", MARKS),
)
LAYERS = st.lists(st.lists(PIECES, max_size=8), min_size=1, max_size=4)
OWNER = Ownership.KEEP if os.geteuid() == 0 else Ownership.IGNORE


def facts(entry: Entry) -> tuple[object, ...]:
    """What a disk keeps of an entry; times of directories change with what they hold."""
    owner: tuple[int, ...] = ()
    if OWNER is Ownership.KEEP and not isinstance(entry, HardLink):
        owner = (entry.uid, entry.gid)
    match entry:
        case Directory():
            return ("dir", entry.mode, *owner)
        case File():
            return ("file", entry.mode, *owner, entry.content.digest, entry.mtime)
        case Symlink():
            return ("link", entry.target, *owner, entry.mtime)
        case _:
            raise AssertionError(entry)


def on_disk(root: str, path: str) -> Entry:
    full = os.path.join(root, path)
    status = os.lstat(full)
    uid, gid, mode = status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)
    mtime = int(status.st_mtime)
    if stat.S_ISDIR(status.st_mode):
        return Directory(path, mode, uid, gid)
    if stat.S_ISLNK(status.st_mode):
        return Symlink(path, os.readlink(full), uid, gid, (), mtime)
    with open(full, "rb") as file:
        content = Inline(file.read())
    return File(path, content, mode, uid, gid, (), mtime, inode=status.st_ino)


def groups(entries: dict[str, Entry]) -> set[frozenset[str]]:
    """Names of one file, where it has several."""
    by_inode: dict[int, set[str]] = {}
    for path, entry in entries.items():
        if isinstance(entry, File) and entry.inode:
            by_inode.setdefault(entry.inode, set()).add(path)
    return {frozenset(names) for names in by_inode.values() if len(names) > 1}


@settings(max_examples=600, deadline=None)
@given(layers=LAYERS)
def test_random_layers_make_the_tree_that_unpacking_makes(layers: list[list[Piece]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        found = View.empty()
        for layer in layers:
            tar = packed(layer)
            refused = False
            try:
                unpack_layer(io.BytesIO(tar), root, OWNER)
            except UsageError:
                refused = True
            try:
                found = found.with_layer(index_of(*layer))
                made = {entry.path: entry for entry in walk(found)}
            except UsageError:
                assert refused
            if refused:
                with pytest.raises(UsageError):
                    found.with_layer(index_of(*layer)).entry("")
                return
        seen = {
            os.path.relpath(os.path.join(directory, name), root)
            for directory, directories, files in os.walk(root)
            for name in (*directories, *files)
        }
        assert set(made) == seen
        scanned = {path: on_disk(root, path) for path in seen}
        for path, entry in made.items():
            assert facts(entry) == facts(scanned[path]), path
        assert groups(made) == groups(scanned)
        assert isinstance(top := found.entry(""), Directory)
        assert top.mode == stat.S_IMODE(os.stat(root).st_mode)
        assert len(found) == len(seen)
