# SPDX-License-Identifier: Apache-2.0
"""What an archive that ADD unpacks does to a root: as BuildKit v0.33.1 did with such tars."""

from __future__ import annotations

import pytest

from tree_samples import MemoryFiles, directory, file, link, tree
from wherry.errors import UsageError
from wherry.fstree.copying import CopySpec, Target
from wherry.fstree.tree import Directory, Entry, File, HardLink, Inline, Special, Symlink, make_tree

_BELOW = tree(
    file("etc/orig", "orig"),
    file("f", "f"),
    link("lnk", "etc"),
    link("sub/lnk", "/etc"),
    "sub/etc/",
    link("broken", "/nowhere"),
)


def _added(
    *entries: Entry, to: str = "/", below: MemoryFiles = _BELOW, owner: str = ""
) -> tuple[list[str], tuple[str, ...]]:
    """The changes as lines, and the whiteouts."""
    target = Target(below, lambda _: b"")
    spec = CopySpec("/t.tar", to, owner=owner, mode="600", excludes=("**",), unpack=True)
    target.copy(tree("t.tar"), spec, lambda file, source: entries)
    return [_line(entry) for entry in make_tree(target.changes()).entries], target.whiteouts()


def _line(entry: Entry) -> str:
    match entry:
        case HardLink():
            return f"h {entry.path} -> {entry.target}"
        case Symlink():
            return f"l {entry.path} {entry.uid}:{entry.gid} -> {entry.target}"
        case File(content=Inline() as content):
            return f"f {entry.path} {entry.mode:o} {entry.uid}:{entry.gid} {content.data.decode()}"
        case Directory():
            return f"d {entry.path} {entry.mode:o} {entry.uid}:{entry.gid}"
        case _:
            return f"s {entry.path} {entry.mode:o} {entry.uid}:{entry.gid}"


def _f(path: str, data: str = "data") -> File:
    return file(path, data, 0o640, uid=11, gid=12)


def _d(path: str, mode: int = 0o750) -> Directory:
    return directory(path, mode, uid=11, gid=12)


def _l(path: str, target: str) -> Symlink:
    return link(path, target, uid=11, gid=12)


_FULL: tuple[Entry, ...] = (
    _d("dir", 0o2711),
    _f("dir/f"),
    HardLink("dir/h", "dir/f"),
    _l("dir/l", "f"),
    _f("imp/deep/f"),
    Special("dev", "char", 1, 3, 0o600, 11, 12),
)


def test_owners_and_modes_are_those_of_the_archive() -> None:
    assert _added(*_FULL, to="/x", below=tree())[0] == [
        "d x 755 0:0",
        "s x/dev 600 11:12",
        "d x/dir 2711 11:12",
        "f x/dir/f 640 11:12 data",
        "h x/dir/h -> x/dir/f",
        "l x/dir/l 11:12 -> f",
        "d x/imp 755 0:0",
        "d x/imp/deep 755 0:0",
        "f x/imp/deep/f 640 11:12 data",
    ]


def test_a_given_owner_is_that_of_all_but_directories_without_entries() -> None:
    lines, _ = _added(*_FULL, to="/x/y/", below=tree(), owner="3:4")
    assert lines[:4] == ["d x 755 3:4", "d x/y 755 3:4", "s x/y/dev 600 3:4", "d x/y/dir 2711 3:4"]
    assert lines[-3:] == [
        "d x/y/imp 755 0:0",
        "d x/y/imp/deep 755 0:0",
        "f x/y/imp/deep/f 640 3:4 data",
    ]


def test_the_archives_root_changes_nothing() -> None:
    assert _added(directory("", 0o700), _f("a"), to="/x")[0] == [
        "d x 755 0:0",
        "f x/a 640 11:12 data",
    ]
    assert _added(directory("", 0o700))[0] == []


@pytest.mark.parametrize(
    ("entries", "to", "expected", "whiteouts"),
    [
        ((_f("etc"),), "/", ["f etc 640 11:12 data"], ()),
        ((_d("f"), _f("f/x")), "/", ["d f 750 11:12", "f f/x 640 11:12 data"], ()),
        ((_f("etc"), _d("etc")), "/", ["d etc 750 11:12"], ("etc/orig",)),
        ((_d("etc", 0o711), _f("etc/n")), "/", ["d etc 711 11:12", "f etc/n 640 11:12 data"], ()),
        ((_f("etc/n"),), "/", ["d etc 755 0:0", "f etc/n 640 11:12 data"], ()),
        ((_f("a", "1"), _f("a", "2")), "/", ["f a 640 11:12 2"], ()),
        ((_d("a", 0o700), _d("a", 0o711)), "/", ["d a 711 11:12"], ()),
        # Links on the way are followed, with the destination as the root.
        ((_f("lnk/x"),), "/", ["d etc 755 0:0", "f etc/x 640 11:12 data"], ()),
        (
            (_f("lnk/x"),),
            "/sub",
            ["d sub 755 0:0", "d sub/etc 755 0:0", "f sub/etc/x 640 11:12 data"],
            (),
        ),
        (
            (_f("lnk/n/x"),),
            "/",
            ["d etc 755 0:0", "d etc/n 755 0:0", "f etc/n/x 640 11:12 data"],
            (),
        ),
        ((_f("x"),), "/lnk", ["d etc 755 0:0", "f etc/x 640 11:12 data"], ()),
        (
            (_l("s", "/etc"), _f("s/x")),
            "/",
            ["d etc 755 0:0", "f etc/x 640 11:12 data", "l s 11:12 -> /etc"],
            (),
        ),
        # An entry in a link's place replaces the link.
        ((_d("lnk"), _f("lnk/x")), "/", ["d lnk 750 11:12", "f lnk/x 640 11:12 data"], ()),
        ((_f("lnk"),), "/", ["f lnk 640 11:12 data"], ()),
        ((_l("e", "../../../out"),), "/", ["l e 11:12 -> ../../../out"], ()),
        # Hard links to what is there, in the archive or before it.
        (
            (HardLink("h", "etc/orig"),),
            "/",
            ["d etc 755 0:0", "f etc/orig 644 0:0 orig", "h h -> etc/orig"],
            (),
        ),
        (
            (_f("a", "1"), HardLink("b", "a"), _f("a", "2")),
            "/",
            ["f a 640 11:12 2", "f b 640 11:12 1"],
            (),
        ),
        (
            (_l("s", "q"), HardLink("h", "s")),
            "/",
            ["l h 11:12 -> q", "l s 11:12 -> q"],
            (),
        ),
    ],
)
def test_what_is_there_is_replaced_and_directories_merge(
    entries: tuple[Entry, ...], to: str, expected: list[str], whiteouts: tuple[str, ...]
) -> None:
    assert _added(*entries, to=to) == (expected, whiteouts)


@pytest.mark.parametrize(
    ("entries", "to", "why"),
    [
        ((_l("s", "/gone"), _f("s/x")), "/", "/gone is not there"),
        ((_l("s", "/etc"), _f("s/x")), "/new", "/new/etc is not there"),
        ((_f("broken/x"),), "/", "/nowhere is not there"),
        ((_f("broken/n/x"),), "/", "/nowhere is not there"),
        ((_f("a"), _f("a/b")), "/", "/a is a file"),
        ((_f("a"), _f("a/b/c")), "/", "/a is a file"),
        ((HardLink("h", "nope"),), "/", "its target /nope is no file there"),
        ((HardLink("h", "etc"),), "/", "its target /etc is no file there"),
        ((_f("h"), HardLink("h", "h")), "/", "its target /h is no file there"),
        ((HardLink("h", "etc/orig"),), "/new", "its target /etc/orig is no file there"),
        ((_f("a"),), "/f", "/f is a file"),
    ],
)
def test_what_cannot_be_put_there_is_refused(entries: tuple[Entry, ...], to: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        _added(*entries, to=to)
    assert caught.value.why == why


def test_a_directory_that_is_replaced_twice_hides_all_it_held() -> None:
    below = tree("x/a/one", "x/a/two/three", "x/b")
    lines, whiteouts = _added(
        _f("x"), _f("x", "again"), _d("x"), _d("x/a"), _f("x/a/one", "new"), below=below
    )
    assert lines == ["d x 750 11:12", "d x/a 750 11:12", "f x/a/one 640 11:12 new"]
    assert whiteouts == ("x/a/two", "x/b")


def test_an_earlier_copy_of_the_same_op_is_removed_with_its_directory() -> None:
    target = Target(tree(), lambda _: b"")
    target.copy(tree("d/a/x", "d/b"), CopySpec("/d", "/etc"))
    target.copy(
        tree("t"), CopySpec("/t", "/", unpack=True), lambda file, source: [_f("etc/a"), _f("etc/c")]
    )
    assert [_line(entry) for entry in make_tree(target.changes()).entries] == [
        "d etc 755 0:0",
        "f etc/a 640 11:12 data",
        "f etc/b 644 0:0 d/b",
        "f etc/c 640 11:12 data",
    ]
    assert target.whiteouts() == ()
