# SPDX-License-Identifier: Apache-2.0
"""In what two trees differ."""

from __future__ import annotations

import pytest

from wherry.fstree.differences import Difference, differences
from wherry.fstree.tree import Directory, Entry, File, Inline, Special, Symlink, make_tree
from wherry.fstree.tree_files import TreeFiles


def tree(*entries: Entry) -> TreeFiles:
    return TreeFiles(make_tree(entries))


def found(before: TreeFiles, after: TreeFiles) -> list[Difference]:
    return sorted(differences(before, after))


def text(path: str, content: str = "x", mode: int = 0o644, uid: int = 0) -> File:
    return File(path, Inline(content.encode()), mode, uid)


def test_times_are_no_difference() -> None:
    one = tree(File("a/b", Inline(b"x"), mtime=1), Symlink("c", "a", mtime=1))
    other = tree(File("a/b", Inline(b"x"), mtime=2), Symlink("c", "a"))
    assert found(one, other) == []


def test_a_directory_that_one_tree_has_is_one_difference() -> None:
    one = tree(text("go/bin/go", "xxx"), text("go/src/a"), text("same"))
    other = tree(text("same"), text("app/movies", "xx"))
    assert found(one, other) == [
        Difference("/app/", "after", after=2, files=1),
        Difference("/go/", "before", before=4, files=2),
    ]
    assert found(tree(text("go/a")), tree(text("go/b"))) == [
        Difference("/go/a", "before", before=1),
        Difference("/go/b", "after", after=1),
    ]


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        (text("a"), text("a", "y"), ("content",)),
        (text("a"), text("a", "xx", 0o755), ("content", "mode")),
        (text("a"), text("a", uid=7), ("owner",)),
        (Symlink("a", "b"), Symlink("a", "c"), ("target",)),
        (Symlink("a", "b"), text("a"), ("kind",)),
        (Special("a", "fifo"), Special("a", "char", 1, 3), ("device",)),
        (text("a"), File("a", Inline(b"x"), xattrs=(("user.a", b"1"),)), ("attributes",)),
    ],
)  # fmt: skip
def test_what_changed(one: Entry, other: Entry, what: tuple[str, ...]) -> None:
    (difference,) = found(tree(one), tree(other))
    assert (difference.path, difference.kind, difference.what) == ("/a", "changed", what)


def test_a_directory_that_changed_itself() -> None:
    one, other = tree(Directory("d"), text("d/a")), tree(Directory("d", 0o700), text("d/a"))
    assert found(one, other) == [Difference("/d/", "changed", ("mode",))]


def test_a_directory_in_place_of_a_file() -> None:
    (difference,) = found(tree(text("a", "xxx")), tree(text("a/b")))
    assert difference == Difference("/a/", "changed", ("kind",), before=3, after=1)
    assert difference.weight == 3
