# SPDX-License-Identifier: Apache-2.0
"""Mount points come and go without a trace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.sandbox.stubs import Stubs

LONG_AGO = 1_000_000_000_123_456_789


@pytest.fixture
def root(tmp_path: Path) -> Path:
    top = tmp_path / "root"
    for name in ("etc", "real"):
        (top / name).mkdir(parents=True)
    (top / "link").symlink_to("/real")
    (top / "dangling").symlink_to("/real/later")
    for path in (top / "etc", top / "real", top):
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return top


def picture(root: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in (root, *root.rglob("*")):
        info = path.lstat()
        found[str(path.relative_to(root))] = (info.st_mode, info.st_mtime_ns)
    return found


def test_made_and_taken_away(root: Path) -> None:
    before = picture(root)
    stubs = Stubs(str(root))
    old = os.umask(0o077)
    try:
        stubs.make("/etc/hosts", is_directory=False)
        stubs.make("/a/b/c", is_directory=True)
        stubs.make("/a/b/file", is_directory=False)
        stubs.make("/link/tmp", is_directory=True, mode=0o1777)
        stubs.make("/dangling/x", is_directory=True)
        stubs.make("/etc", is_directory=True)
    finally:
        os.umask(old)
    made = picture(root)
    assert {name: oct(mode) for name, (mode, _) in made.items() if name not in before} == {
        "etc/hosts": "0o100755", "a": "0o40755", "a/b": "0o40755", "a/b/c": "0o40755",
        "a/b/file": "0o100755", "real/tmp": "0o41777", "real/later": "0o40755",
        "real/later/x": "0o40755",
    }  # fmt: skip
    assert {name: made[name] for name in before} == before
    stubs.remove()
    assert picture(root) == before


def test_what_the_step_changed_stays(root: Path) -> None:
    stubs = Stubs(str(root))
    stubs.make("/a/b", is_directory=True)
    stubs.make("/etc/hosts", is_directory=False)
    stubs.make("/etc/gone", is_directory=False)
    stubs.make("/real/now-a-link", is_directory=False)
    (root / "a" / "b" / "kept").touch()
    (root / "etc" / "hosts").write_text("mine")
    (root / "etc" / "gone").unlink()
    (root / "real" / "now-a-link").unlink()
    (root / "real" / "now-a-link").symlink_to("/etc")
    os.utime(root / "etc", ns=(5, 5))
    stubs.remove()
    names = {"a", "a/b", "a/b/kept", "etc/hosts", "real/now-a-link"}
    assert names <= set(picture(root))
    assert (root / "etc").stat().st_mtime_ns == 5


def test_links_that_the_step_put_in_the_way_lead_nowhere(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "x").mkdir(parents=True)
    (outside / "x" / "hosts").touch()
    (outside / "hosts").touch()
    stubs = Stubs(str(root))
    stubs.make("/etc/hosts", is_directory=False)
    stubs.make("/new/x/hosts", is_directory=False)
    (root / "etc").rename(root / "moved")
    (root / "etc").symlink_to("../outside")
    (root / "new" / "x" / "hosts").unlink()
    (root / "new" / "x").rmdir()
    (root / "new").rmdir()
    (root / "new").symlink_to(outside)
    stubs.remove()
    assert sorted(path.name for path in outside.rglob("*")) == ["hosts", "hosts", "x"]
    assert (root / "moved" / "hosts").exists()


def test_a_file_above_is_an_error(root: Path) -> None:
    (root / "etc" / "passwd").touch()
    with pytest.raises(NotADirectoryError):
        Stubs(str(root)).make("/etc/passwd/x", is_directory=True)
