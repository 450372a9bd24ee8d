# SPDX-License-Identifier: Apache-2.0
"""Unpacking keeps directories open: what one entry replaces, the next must not find as it was."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from wherry.errors import UsageError
from wherry.fstree.unpack import Ownership, unpack_layer

Content = str | bytes | None


def layer(*entries: tuple[str, Content]) -> io.BytesIO:
    """Name and content; `-> target` for a link, `== target` for a hard one, None: a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in entries:
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, str):
                kind, _, member.linkname = content.partition(" ")
                member.type = tarfile.SYMTYPE if kind == "->" else tarfile.LNKTYPE
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    out.seek(0)
    return out


def unpack(root: Path, *entries: tuple[str, Content]) -> set[str]:
    """All files and links below `root` (and empty directories) when the layer is there."""
    assert unpack_layer(layer(*entries), str(root), Ownership.IGNORE) == ()
    found = set()
    for path in root.rglob("*"):
        if path.is_symlink() or not path.is_dir() or not any(path.iterdir()):
            found.add(str(path.relative_to(root)))
    return found


def test_a_directory_replaced_by_a_link(tmp_path: Path) -> None:
    entries = (("other", None), ("d/x", b"1"), ("d", "-> other"), ("d/y", b"2"))
    assert unpack(tmp_path, *entries) == {"d", "other/y"}


def test_a_directory_replaced_by_a_link_to_the_outside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    entries = (("d/x", b"1"), ("d", f"-> {tmp_path}"), ("d/y", b"2"))
    assert unpack(root, *entries) == {"d", f"{tmp_path}/y".removeprefix("/")}
    assert os.listdir(tmp_path) == ["root"]


def test_a_link_replaced_by_a_directory_or_another_link(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    entries = (
        ("l", "-> a"), ("l/1", b""), ("l", "-> b"), ("l/2", b""), ("l", None), ("l/3", b""),
    )  # fmt: skip
    assert unpack(tmp_path, *entries) == {"a/1", "b/2", "l/3"}


def test_a_link_on_the_way_of_another_link(tmp_path: Path) -> None:
    entries = (
        ("a", None), ("b", None), ("l", "-> /m"), ("m", "-> a"),
        ("l/s/1", b""), ("m", "-> b"), ("l/s/2", b""), ("l/3", b""),
    )  # fmt: skip
    assert unpack(tmp_path, *entries) == {"l", "m", "a/s/1", "b/s/2", "b/3"}


def test_a_directory_that_a_link_only_passes(tmp_path: Path) -> None:
    entries = (("x", None), ("a", None), ("l", "-> x/../a"), ("l/1", b""), ("x", b""))
    assert unpack(tmp_path, *entries) == {"x", "l", "a/1"}
    with pytest.raises(UsageError, match="cannot unpack"):
        unpack(tmp_path, (".wh.x", b""), ("x", None), ("l/2", b""), ("x", b""), ("l/3", b""))
    assert sorted(os.listdir(tmp_path / "a")) == ["1", "2"]


def test_an_entry_that_replaces_what_its_own_path_passed(tmp_path: Path) -> None:
    entries = (("x", None), ("l", "-> x/.."), ("l/x", b"file"), ("z", b""))
    assert unpack(tmp_path, *entries) == {"l", "x", "z"}
    assert (tmp_path / "x").read_bytes() == b"file"


def test_a_directory_above_is_replaced(tmp_path: Path) -> None:
    entries = (("c/b", None), ("a/b/x", b""), ("a", "-> c"), ("a/b/y", b""))
    assert unpack(tmp_path, *entries) == {"a", "c/b/y"}


def test_a_directory_made_again_is_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d").chmod(0o500)
    assert unpack(tmp_path, ("d/x", b""), ("d", b"file"), ("d", None), ("d/y", b"")) == {"d/y"}
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o755


def test_a_whiteout_of_the_directory_that_is_open(tmp_path: Path) -> None:
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/old").touch()
    (tmp_path / "d").chmod(0o700)
    assert unpack(tmp_path, ("d/e/.wh.no", b""), (".wh.d", b""), ("d/e/new", b"")) == {"d/e/new"}
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o755


def test_an_opaque_mark_above_the_directory_that_is_open(tmp_path: Path) -> None:
    (tmp_path / "p/d").mkdir(parents=True)
    (tmp_path / "p/d/old").touch()
    entries = (("p/d/.wh.no", b""), ("p/.wh..wh..opq", b""), ("p/d/new", b""))
    assert unpack(tmp_path, *entries) == {"p/d/new"}


def test_hard_links_name_what_is_there_now(tmp_path: Path) -> None:
    entries = (
        ("o/x", b"new"), ("d/x", b"old"), ("d/y", "== d/x"), ("d", "-> o"), ("h", "== d/x"),
    )  # fmt: skip
    assert unpack(tmp_path, *entries) == {"d", "o/x", "h"}
    assert (tmp_path / "h").read_bytes() == b"new"


def test_a_hard_link_in_the_place_of_its_targets_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot unpack"):
        unpack(tmp_path, ("d/x", b""), ("d", "== d/x"))


@pytest.mark.parametrize("last", [("d0", b""), ("..", b"")])
def test_no_directory_stays_open(tmp_path: Path, last: tuple[str, bytes]) -> None:
    many = [(f"d{number % 30}/{number}/x", b"") for number in range(90)]
    before = os.listdir("/proc/self/fd")
    stream = layer(*many, *many, last)
    if last[0] == "..":
        with pytest.raises(UsageError):
            unpack_layer(stream, str(tmp_path), Ownership.IGNORE)
    else:
        unpack_layer(stream, str(tmp_path), Ownership.IGNORE)
        assert (tmp_path / "d0").is_file()
    assert os.listdir("/proc/self/fd") == before
    assert (tmp_path / "d29/89/x").is_file()
