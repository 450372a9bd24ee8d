# SPDX-License-Identifier: Apache-2.0
"""Whole modules of packs in a cache of steps: hostile zips, full disks, others who come first."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from wherry.gocache.module_names import ModuleVersion
from wherry.gocache.module_sums import parse_sums
from wherry.gocache.module_trees import TreesIntoCache
from wherry.gocache.pack import unpack, write_pack
from wherry.gocache.table import Row
from wherry.golang.go_sum import hash_files
from wherry.process.cancel import CancelToken

LIB = ModuleVersion("example.com/lib", "v1.0.0")
EVIL = ModuleVersion("example.com/evil", "v1.0.0")
FILES = {"go.mod": b"module example.com/lib\n", "dir/a.go": b"package dir\n"}
ZIPHASH, ZIP = LIB.download("ziphash"), LIB.download("zip")


def zip_of(module: ModuleVersion, files: Iterable[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files:
            archive.writestr(f"{module}/{name}", data)
    return out.getvalue()


class Ground:
    """A module cache of steps, and the modules that a place has for it."""

    def __init__(self, top: Path) -> None:
        self.root, self.scratch = top / "modules", top / "scratch"
        self.root.mkdir()
        self._zips: dict[ModuleVersion, bytes] = {}
        self._lines: list[str] = []

    def offer(self, module: ModuleVersion, files: Iterable[tuple[str, bytes]]) -> None:
        """Add a module to the pack, and its zip's hash to go.sum."""
        listed = list(files)
        self._zips[module] = zip_of(module, listed)
        digests = ((f"{module}/{name}", hashlib.sha256(data).hexdigest()) for name, data in listed)
        self._lines.append(f"{module.path} {module.version} {hash_files(digests)}")

    def restore(self) -> TreesIntoCache:
        rows, contents = [], {}
        for module, data in self._zips.items():
            row = Row(module.download("zip"), hashlib.sha256(data).hexdigest(), len(data))
            rows.append(row)
            contents[row.content] = data
        out, cancel = io.BytesIO(), CancelToken()
        table = write_pack(
            "zips", rows, lambda row: io.BytesIO(contents[row.content]), out.write, cancel
        ).table
        sums = parse_sums(["\n".join(self._lines)])
        found = TreesIntoCache(str(self.root), table.rows, sums, str(self.scratch))
        unpack(table, io.BytesIO(out.getvalue()), found.contents, found.place, cancel)
        return found

    @property
    def files(self) -> dict[str, bytes]:
        found = (path for path in self.root.rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)): path.read_bytes() for path in found}

    def has(self, module: ModuleVersion) -> bool:
        """Whether a module is there, all of it."""
        tree = self.root / module.directory
        return (
            {module.download("zip"), module.download("ziphash")} <= self.files.keys()
            and tree.is_dir()
            and stat.S_IMODE(tree.stat().st_mode) == 0o555
        )


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    made = Ground(tmp_path)
    made.offer(LIB, FILES.items())
    return made


def test_a_module_comes_with_its_tree_and_hash(ground: Ground) -> None:
    assert ground.restore().refused == {}
    assert ground.has(LIB)
    assert {name: ground.files[f"{LIB.directory}/{name}"] for name in FILES} == FILES
    assert not list(ground.scratch.iterdir())


@pytest.mark.parametrize(
    "names", [("a", "a/b"), ("a", "a/b/c"), ("n" * 300 + "/x",), ("a/" * 3000 + "x",)]
)
def test_a_hostile_zip_costs_a_line_and_no_other_module(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    ground = Ground(tmp_path)
    ground.offer(EVIL, [(name, b"x") for name in names])
    ground.offer(LIB, FILES.items())
    other = LIB._replace(version="v1.1.0")
    ground.offer(other, FILES.items())
    assert ground.restore().refused == {EVIL: "its zip is not the one of go.sum"}
    assert ground.has(LIB)
    assert ground.has(other)
    assert not any("evil" in name for name in ground.files)
    assert not list(ground.scratch.iterdir())


def failing_rename(fault: int, name: str) -> Callable[[str, str], None]:
    """Renames of which that to `name` fails."""
    rename = os.rename

    def renamed(source: str, target: str) -> None:
        if target.endswith(name):
            raise OSError(fault, os.strerror(fault))
        rename(source, target)

    return renamed


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("name", [ZIP, LIB.directory])
def test_a_module_that_the_disk_did_not_take_can_come_again(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, name: str, fault: int
) -> None:
    monkeypatch.setattr(os, "rename", failing_rename(fault, name))
    with pytest.raises(OSError, match=os.strerror(fault)):
        ground.restore()
    monkeypatch.undo()
    assert ground.files == {}
    assert not list(ground.scratch.iterdir())
    ground.restore()
    assert ground.has(LIB)


def test_directories_that_the_disk_did_not_take_leave_no_hash(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("wherry.gocache.module_trees.make_above", full)
    with pytest.raises(OSError, match="No space left"):
        ground.restore()
    assert ground.files == {}


def test_a_hash_that_the_disk_did_not_take_leaves_no_piece(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, _chunks: object) -> None:
        Path(path).touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("wherry.gocache.module_trees.write_new", full)
    with pytest.raises(OSError, match="No space left"):
        ground.restore()
    assert ground.files == {}


def test_a_tree_that_a_step_left_meanwhile_stays(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are of the same hash: the module is there, and nothing failed."""
    rename = os.rename

    def beaten(source: str, target: str) -> None:
        if target.endswith(LIB.directory):
            Path(target).mkdir()
            Path(target, "theirs").touch()
        rename(source, target)

    monkeypatch.setattr(os, "rename", beaten)
    assert ground.restore().refused == {}
    assert {ZIPHASH, ZIP, f"{LIB.directory}/theirs"} == ground.files.keys()
    assert not list(ground.scratch.iterdir())
