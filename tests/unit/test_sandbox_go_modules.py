# SPDX-License-Identifier: Apache-2.0
"""Which files of a shared module cache a step sees: those that its own go.sum vouches for."""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from wherry.golang.go_sum import hash_files
from wherry.sandbox.go_modules import hide, vouched

PLACE = "/go/pkg/mod"
MODULE = "example.com/Lib v1.0.0"
TREE = "example.com/!lib@v1.0.0"
DOWNLOAD = "cache/download/example.com/!lib/@v/v1.0.0"
GOMOD = b"module example.com/Lib\n"
OTHER_SUM = f"h1:{'A' * 43}="


def archive(text: bytes = b"package lib\n") -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("example.com/Lib@v1.0.0/lib.go", text)
    return data.getvalue()


def hash_of(text: bytes, name: str) -> str:
    return hash_files([(name, hashlib.sha256(text).hexdigest())])


ZIP_SUM = hash_of(b"package lib\n", "example.com/Lib@v1.0.0/lib.go")
FILES = f"{MODULE} {ZIP_SUM}"
MOD = f"{MODULE}/go.mod {hash_of(GOMOD, 'go.mod')}"
OTHER_FILES = f"{MODULE} {OTHER_SUM}"
OTHER_MOD = f"{MODULE}/go.mod {OTHER_SUM}"


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return tmp_path / "pool"


def put(pool: Path, *names: str) -> None:
    """Files of the module's download, by their endings; `tree` is its directory."""
    contents = {"zip": archive(), "mod": GOMOD, "ziphash": ZIP_SUM.encode()}
    for name in names:
        path = pool / f"fs{PLACE}" / (f"{TREE}/lib.go" if name == "tree" else f"{DOWNLOAD}.{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents.get(name, b"{}"))


def hidden(pool: Path, *lines: str) -> set[str]:
    """What a step with these lines in its go.sum does not see."""
    mask = pool.parent / "mask"
    (mask / "fs").mkdir(parents=True)
    hide(str(pool), str(mask), PLACE, lines)
    found: Iterable[Path] = (path for path in mask.rglob("*") if not path.is_dir())
    names = set()
    for path in found:
        assert stat.S_ISCHR(path.lstat().st_mode)
        name = str(path.relative_to(f"{mask}/fs{PLACE}"))
        names.add("tree" if name == TREE else name.removeprefix(f"{DOWNLOAD}."))
    return names


def test_what_came_from_a_place_is_hidden_from_those_who_do_not_name_it(pool: Path) -> None:
    put(pool, "zip", "mod", "info")
    assert hidden(pool) == {"zip", "mod", "info"}


def test_what_came_from_a_place_is_there_for_those_who_vouch_for_it(pool: Path) -> None:
    put(pool, "zip", "mod", "info")
    assert hidden(pool, FILES, MOD) == set()


def test_a_zip_that_another_go_sum_vouched_for_is_hidden(pool: Path) -> None:
    put(pool, "zip", "mod", "info")
    assert hidden(pool, OTHER_FILES, MOD) == {"zip", "info"}


def test_a_go_mod_that_another_go_sum_vouched_for_is_hidden(pool: Path) -> None:
    put(pool, "zip", "mod", "info")
    assert hidden(pool, FILES, OTHER_MOD) == {"mod"}


def test_a_whole_module_of_another_hash_is_hidden(pool: Path) -> None:
    put(pool, "zip", "mod", "info", "ziphash", "tree")
    assert hidden(pool, OTHER_FILES) == {"zip", "mod", "info", "ziphash", "tree"}


def test_a_whole_module_is_there_and_its_go_mod_only_if_it_is_right(pool: Path) -> None:
    put(pool, "zip", "mod", "info", "ziphash", "tree")
    assert hidden(pool, FILES) == set()
    (pool.parent / "mask").rename(pool.parent / "before")
    assert hidden(pool, FILES, OTHER_MOD) == {"mod"}


def test_a_go_mod_alone_is_vouched_for_by_its_own_line(pool: Path) -> None:
    put(pool, "mod", "info")
    assert hidden(pool, MOD) == set()
    (pool.parent / "mask").rename(pool.parent / "before")
    assert hidden(pool, FILES) == {"mod", "info"}


def test_what_a_killed_build_left_is_hidden(pool: Path) -> None:
    put(pool, "zip", "mod", "info", "zip0123.tmp", "lock", "tree")
    assert hidden(pool, FILES, MOD) == {"zip0123.tmp", "lock", "tree"}


def test_a_tree_alone_is_hidden(pool: Path) -> None:
    put(pool, "tree")
    assert hidden(pool, FILES, MOD) == {"tree"}


def test_a_tree_that_is_not_whole_is_hidden(pool: Path) -> None:
    put(pool, "zip", "mod", "info", "ziphash", "partial", "tree")
    assert hidden(pool, FILES, MOD) == {"zip", "info", "ziphash", "partial", "tree"}


@pytest.mark.parametrize("part", ["zip", "mod"])
def test_a_link_is_no_file_of_a_module(pool: Path, part: str) -> None:
    put(pool, "zip", "mod")
    path = pool / f"fs{PLACE}" / f"{DOWNLOAD}.{part}"
    path.rename(pool / part)
    path.symlink_to(pool / part)
    assert hidden(pool, FILES, MOD) == {part}


def test_lines_of_go_mods_vouch_too_unless_there_are_two(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "go.sum").write_text(f"{FILES}\n{MOD}\n")
    assert vouched(str(tmp_path), "/w") == {FILES, MOD}
    (tmp_path / "w" / "go.work.sum").write_text(f"{OTHER_MOD}\n")
    assert vouched(str(tmp_path), "/w") == {FILES}
