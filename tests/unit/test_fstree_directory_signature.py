# SPDX-License-Identifier: Apache-2.0
"""The signature of a part of a directory: what changes it, and what does not."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import wherry.fstree.safe_open
import wherry.fstree.scan
from wherry.fstree.directory import DirectoryFiles
from wherry.fstree.ignore import IgnoreRules
from wherry.fstree.memo import NoMemo
from wherry.fstree.tree import File
from wherry.process.cancel import CancelToken
from wherry.process.clock import file_clock_ns


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path in ("a/x", "a/deep/y", "b/z", "c"):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    return tmp_path


@pytest.fixture(autouse=True)
def _an_hour_later(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = wherry.fstree.scan.file_clock_ns
    monkeypatch.setattr(wherry.fstree.safe_open, "is_local", lambda _path: True)
    monkeypatch.setattr(wherry.fstree.scan, "file_clock_ns", lambda: clock() + 3600 * 10**9)


def signature(root: Path, *prefixes: str, rules: tuple[str, ...] = ()) -> str:
    with DirectoryFiles(str(root), IgnoreRules(rules), NoMemo(), CancelToken()) as files:
        found = files.signature(prefixes or ("",))
    assert found is not None
    return found


Change = Callable[[Path], object]
INSIDE: dict[str, Change] = {
    "content": lambda root: (root / "a/x").write_text("new"),
    "same content again": lambda root: (root / "a/x").write_text("a/x"),
    "mode": lambda root: (root / "a/x").chmod(0o751),
    "directory's mode": lambda root: (root / "a/deep").chmod(0o751),
    "own mode": lambda root: (root / "a").chmod(0o751),
    "new name": lambda root: (root / "a/new").write_text(""),
    "new directory": lambda root: (root / "a/empty").mkdir(),
    "gone": lambda root: (root / "a/deep/y").unlink(),
    "renamed": lambda root: (root / "a/x").rename(root / "a/w"),
    "link": lambda root: (root / "a/l").symlink_to("x"),
    "set back": lambda root: ((root / "a/x").write_text("b/x"), os.utime(root / "a/x", (1, 1))),
}
OUTSIDE: dict[str, Change] = {
    "content": lambda root: (root / "b/z").write_text("new"),
    "new name": lambda root: (root / "new").write_text(""),
    "gone": lambda root: (root / "c").unlink(),
}


@pytest.mark.parametrize("name", INSIDE)
def test_a_change_in_the_part_shows(root: Path, name: str) -> None:
    before = signature(root, "a"), signature(root)
    INSIDE[name](root)
    assert signature(root, "a") != before[0]
    assert signature(root) != before[1]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_change_elsewhere_does_not_show(root: Path, name: str) -> None:
    before, whole = signature(root, "a"), signature(root)
    OUTSIDE[name](root)
    assert signature(root, "a") == before
    assert signature(root) != whole


def test_hidden_files_do_not_count(root: Path) -> None:
    rules = ("**/*.log", "tmp")
    before = signature(root, rules=rules)
    (root / "a" / "x.log").write_text("")
    (root / "tmp").mkdir()
    (root / "tmp" / "file").write_text("")
    assert signature(root, rules=rules) == before
    assert signature(root, rules=("tmp",)) != signature(root, rules=rules)


def test_prefixes_are_paths_of_files_too(root: Path) -> None:
    before = signature(root, "a/x", "/c")
    (root / "a" / "new").write_text("")
    assert signature(root, "/c", "a/x/") == before
    (root / "c").write_text("new")
    assert signature(root, "a/x", "c") != before


def test_a_prefix_that_is_not_there_shows_when_it_comes(root: Path) -> None:
    before = signature(root, "none/deep")
    (root / "none").mkdir()
    middle = signature(root, "none/deep")
    (root / "none" / "deep").write_text("")
    assert len({before, middle, signature(root, "none/deep")}) == 3


@pytest.mark.parametrize("target", ["../b", "b", "../../../b", "/b"])
def test_where_links_lead_counts(root: Path, target: str) -> None:
    if target == "b":
        (root / "link").symlink_to(target)
        part = "link"
    else:
        (root / "a" / "link").symlink_to(target)
        part = "a"
    before = signature(root, part)
    (root / "b" / "z").write_text("new")
    changed = signature(root, part)
    assert changed != before
    (root / "c").write_text("new")
    assert signature(root, part) == changed


def test_what_is_behind_a_link_counts(root: Path) -> None:
    (root / "link").symlink_to("a")
    before = signature(root, "link/deep/y")
    (root / "a" / "x").write_text("new")
    assert signature(root, "link/deep/y") == before
    (root / "a" / "deep" / "y").write_text("new")
    assert signature(root, "link/deep/y") != before


def test_a_winding_link_counts_everything(root: Path) -> None:
    (root / "a" / "link").symlink_to("deep/../../b")
    before = signature(root, "a")
    (root / "c").write_text("new")
    assert signature(root, "a") != before


def test_links_in_a_circle_end(root: Path) -> None:
    (root / "one").symlink_to("two")
    (root / "two").symlink_to("one")
    (root / "self").symlink_to("self/x")
    before = signature(root, "one", "self")
    (root / "two").unlink()
    assert signature(root, "one", "self") != before


def test_files_that_were_just_written_prove_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wherry.fstree.scan, "file_clock_ns", file_clock_ns)
    with DirectoryFiles(str(root), IgnoreRules(()), NoMemo(), CancelToken()) as files:
        assert files.signature(("",)) is None
        assert files.signature(("a/x",)) is None


def test_files_of_another_clock_prove_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wherry.fstree.safe_open, "is_local", lambda _path: False)
    with DirectoryFiles(str(root), IgnoreRules(()), NoMemo(), CancelToken()) as files:
        assert files.signature(("",)) is None


def test_once_contents_were_read_everything_is_looked_at_anew(root: Path) -> None:
    with DirectoryFiles(str(root), IgnoreRules(()), NoMemo(), CancelToken()) as files:
        first = files.signature(("a",))
        (root / "a" / "new").write_text("")
        assert files.signature(("a",)) == first
        found = files.entry("a/x")
        assert isinstance(found, File)
        files.digest(found)
        assert files.signature(("a",)) != first
        # What was given stays what it was.
        assert files.names("a") == ("deep", "x")
