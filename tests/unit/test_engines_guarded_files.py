# SPDX-License-Identifier: Apache-2.0
"""The files of a root whose Go caches are not in it, read and written."""

from __future__ import annotations

import pytest

from wherry.engines.local.guarded_files import GuardedFiles, HiddenCache
from wherry.fstree.copying import Target
from wherry.fstree.tree import Directory, File, Inline, Symlink, make_tree
from wherry.fstree.tree_files import TreeFiles


def guarded(*hidden: str) -> GuardedFiles:
    """A root with a link into a module cache and one beside it."""
    entries = (
        Directory("go"),
        Directory("go/bin"),
        File("go/bin/tool", Inline(b""), 0o755),
        Symlink("m", "/go/pkg/mod"),
        Symlink("n", "go/pkg"),
        Symlink("b", "/go/bin"),
    )
    return GuardedFiles(TreeFiles(make_tree(entries)), hidden or ("/go/pkg/mod",))


def written(destination: str) -> tuple[str, ...]:
    target = Target(guarded(), lambda _file: b"")
    target.write_file("x", b"data", destination)
    return tuple(sorted(entry.path for entry in target.changes() if isinstance(entry, File)))


@pytest.mark.parametrize(
    "place",
    [
        "/m/example.com/m@v1.0.0",
        "/m",
        "/m/",
        "/go/pkg/mod",
        "/n/mod/x",
        # No directory of the root: the steps saw one, and a file would replace it.
        "/go/pkg",
        "/n",
    ],
)
def test_nothing_is_put_where_a_cache_was(place: str) -> None:
    with pytest.raises(HiddenCache, match="go/pkg"):
        written(place)


@pytest.mark.parametrize(
    ("place", "path"),
    [("/b", "go/bin/x"), ("/go", "go/x"), ("/go/bin/tool", "go/bin/tool"), ("/go/p/", "go/p/x")],
)
def test_what_lies_beside_a_cache_is_written(place: str, path: str) -> None:
    assert written(place) == (path,)


def test_a_directory_is_not_made_where_a_cache_was() -> None:
    target = Target(guarded(), lambda _file: b"")
    target.make_directory("/go/src/app")
    with pytest.raises(HiddenCache):
        target.make_directory("/m/cache")


def test_what_holds_a_cache_is_not_searched() -> None:
    files = guarded()
    for path in ("", "go", "go/pkg", "go/pkg/mod", "go/pkg/mod/cache"):
        with pytest.raises(HiddenCache):
            files.names(path)
    assert files.names("go/bin") == ("tool",)
    assert isinstance(files.entry("go"), Directory)
    assert files.entry("go/elsewhere") is None
