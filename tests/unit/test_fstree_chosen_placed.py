# SPDX-License-Identifier: Apache-2.0
"""Chosen files on a base: its links, its directories, its users; what writes one path twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.errors import UsageError
from wherry.fstree.chosen import Wanted, choose
from wherry.fstree.named_owners import owner_ids
from wherry.fstree.placed import placed
from wherry.fstree.tree import Directory, Entry, File, HardLink, Inline, Symlink, Tree, make_tree
from wherry.fstree.tree_files import TreeFiles

_PASSWD = (
    b"# joe:x:9:9::/:\nroot:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65530::/home/nonroot:\n"
    b"broken:x:one:two::/:\nmany:x:99999999999:1::/:\n"
)
_GROUP = b"root:x:0:\nwww-data:x:33:\n"
_BASE = make_tree(
    (
        Directory("tmp", 0o1777),
        Directory("home/nonroot", 0o700, 65532, 65532),
        Directory("usr/lib"),
        Directory("run"),
        Symlink("lib", "usr/lib"),
        Symlink("var/run", "../run"),
        Symlink("srv", "/home/nonroot/www"),
        Symlink("etc/localtime", "/usr/share/zoneinfo/UTC"),
        File("etc/passwd", Inline(_PASSWD)),
        File("etc/hosts", Inline(b"")),
        HardLink("etc/hosts2", "etc/hosts"),
    )
)


def read(path: str) -> bytes | None:
    return {"etc/passwd": _PASSWD, "etc/group": _GROUP}.get(path)


@pytest.fixture
def module(tmp_path: Path) -> Path:
    for path in ("a.txt", "b.txt", "d/one", "d/sub/two", "root/tmp/x", "root/var/run/y"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / "root/home/nonroot").mkdir(parents=True)
    return tmp_path


def on_base(module: Path, *wanted: Wanted, base: Tree = _BASE) -> dict[str, Entry]:
    chosen = choose(str(module), wanted)
    tree = placed(chosen, TreeFiles(base), lambda text: owner_ids(text, read))
    return {entry.path: entry for entry in tree.entries}


def refused(module: Path, *wanted: Wanted) -> UsageError:
    with pytest.raises(UsageError) as raised:
        on_base(module, *wanted)
    return raised.value


def test_the_bases_links_are_followed_and_kept(module: Path) -> None:
    found = on_base(
        module,
        Wanted("a.txt", "/lib/a.txt"),
        Wanted("b.txt", "/var/run/"),
        Wanted("d", "/srv"),
    )
    assert set(found) == {
        "home", "home/nonroot", "home/nonroot/www", "home/nonroot/www/one",
        "home/nonroot/www/sub", "home/nonroot/www/sub/two", "run", "run/b.txt", "usr", "usr/lib",
        "usr/lib/a.txt",
    }  # fmt: skip


def test_the_bases_directories_stay_what_they_are(module: Path) -> None:
    found = on_base(module, Wanted("a.txt", "/tmp/"), Wanted("root", "/.", mode=0o600))
    assert found["tmp"] == Directory("tmp", 0o1777)
    assert found["home/nonroot"] == Directory("home/nonroot", 0o700, 65532, 65532)
    assert {"tmp/x", "run/y"} <= set(found)
    assert found["var"] == Directory("var")
    # An owner that is asked for is given, a mode of files is not a directory's.
    found = on_base(module, Wanted("d", "/tmp", owner="7:8"))
    assert found["tmp"] == Directory("tmp", 0o1777, 7, 8)


def test_what_is_new_belongs_to_root_or_the_owner(module: Path) -> None:
    found = on_base(
        module, Wanted("d", "/data/d", "nonroot", 0o640), Wanted("a.txt", "/data/a.txt")
    )
    assert found["data"] == Directory("data")
    owned = [found[path] for path in ("data/d", "data/d/one", "data/d/sub/two")]
    assert {(entry.uid, entry.gid) for entry in owned} == {(65532, 65530)}  # type: ignore[union-attr] # no hard links
    own = found["data/a.txt"]
    assert isinstance(own, File)
    assert (own.uid, own.gid, own.mode) == (0, 0, 0o644)


def test_a_link_of_the_base_is_replaced_by_a_file_of_its_name(module: Path) -> None:
    found = on_base(module, Wanted("a.txt", "/etc/localtime"), Wanted("b.txt", "/etc/hosts2"))
    assert isinstance(found["etc/localtime"], File)
    assert "usr/share/zoneinfo/UTC" not in found


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted("a.txt", "/tmp"), "in the base that is a directory"),
        (Wanted("d", "/etc/hosts"), "in the base that is no directory"),
        (Wanted("a.txt", "/etc/hosts/x"), "/etc/hosts of the base is no directory"),
        (Wanted("d", "/etc/passwd/deep/er"), "/etc/passwd of the base is no directory"),
    ],
)
def test_files_and_directories_do_not_replace_each_other(
    module: Path, wanted: Wanted, words: str
) -> None:
    error = refused(module, wanted)
    assert words in error.why
    assert error.hint


@pytest.mark.parametrize(
    ("one", "two", "path"),
    [
        (Wanted("a.txt", "/x/f"), Wanted("b.txt", "/x/f"), "/x/f"),
        (Wanted("a.txt", "/x/"), Wanted("*.txt", "/x/"), "/x/a.txt"),
        (Wanted("d", "/x"), Wanted("a.txt", "/x/one"), "/x/one"),
        (Wanted("a.txt", "/x"), Wanted("d", "/x"), "/x"),
        (Wanted("a.txt", "/run/f"), Wanted("b.txt", "/var/run/f"), "/run/f"),
    ],
)
def test_two_entries_that_write_one_path_are_named_both(
    module: Path, one: Wanted, two: Wanted, path: str
) -> None:
    for first, second in ((one, two), (two, one)):
        error = refused(module, first, second)
        assert error.what == f"two entries of `files` write {path}"
        for wanted in (one, two):
            assert f"from = {wanted.source!r}, to = {wanted.target!r}" in error.why


@pytest.mark.parametrize("swap", [False, True])
def test_a_file_of_one_entry_is_no_directory_of_another(module: Path, swap: bool) -> None:
    pair = (Wanted("a.txt", "/x"), Wanted("b.txt", "/x/y"))
    error = refused(module, *(pair[::-1] if swap else pair))
    assert "/x" in error.what
    assert "entry" in error.why or "makes it a file" in error.why


def test_directories_of_two_entries_are_one_and_the_later_owner_holds(module: Path) -> None:
    found = on_base(module, Wanted("d", "/x"), Wanted("d/sub", "/x/new"), Wanted("root", "/x", "5"))
    assert found["x"] == Directory("x", 0o755, 5, 5)
    assert {"x/one", "x/new/two", "x/tmp/x"} <= set(found)


# --- owners -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("1000", (1000, 1000)),
        ("1000:50", (1000, 50)),
        ("root", (0, 0)),
        ("nonroot", (65532, 65530)),
        ("nonroot:www-data", (65532, 33)),
        ("7:www-data", (7, 33)),
        ("nonroot:7", (65532, 7)),
        ("4294967294", (4294967294, 4294967294)),
    ],
)
def test_owners_are_numbers_or_names_of_the_base(text: str, ids: tuple[int, int]) -> None:
    assert owner_ids(text, read) == ids


def test_numbers_ask_for_no_file() -> None:
    def never(path: str) -> bytes | None:
        raise AssertionError(path)

    assert owner_ids("0:0", never) == (0, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonrot", "did you mean 'nonroot'?"),
        ("joe", "/etc/passwd has no such name"),
        ("nonroot:www", "/etc/group has no such name"),
        ("", "is no owner"),
        (":7", "is no owner"),
        ("7:", "is no owner"),
        ("4294967295", "ids are 0 to"),
        ("99999999999999999999999", "ids are 0 to"),
        ("broken", "damaged"),
        ("many", "damaged"),
        ("root:wheel:x", "no group 'wheel:x'"),
    ],
)
def test_wrong_owners_are_errors_not_root(text: str, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        owner_ids(text, read)
    assert words in str(raised.value)


def test_a_base_without_users_says_so(module: Path) -> None:
    with pytest.raises(UsageError) as raised:
        owner_ids("app", lambda _path: None)
    assert "no /etc/passwd" in raised.value.why
    assert "number" in raised.value.hint


# --- a tree as files ----------------------------------------------------------------------------


def test_a_trees_hard_links_read_as_files() -> None:
    files = TreeFiles(_BASE)
    entry = files.entry("etc/hosts2")
    assert isinstance(entry, File)
    assert entry.path == "etc/hosts2"
    assert files.digest(entry) == Inline(b"").digest
    assert files.names("etc") == ("hosts", "hosts2", "localtime", "passwd")
    assert files.names("nowhere") == ()
    assert files.entry("nowhere") is None
    assert isinstance(files.entry(""), Directory)
