# SPDX-License-Identifier: Apache-2.0
"""Links that are replaced by what they lead to, as in ko's kodata."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.errors import UsageError
from wherry.fstree.chosen import Chosen, Wanted, choose
from wherry.fstree.tree import Directory, File


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A module in a repository that is larger than it."""
    root = tmp_path / "repository/module"
    for path in ("LICENSE", "docs/a/one", "cmd/x/kodata/own", "cmd/x/kodata/sub/two"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    git = root.parent / ".git"
    (git / "refs/heads").mkdir(parents=True)
    for path in ("HEAD", "packed-refs", "refs/heads/main", "config", "COMMIT_EDITMSG"):
        (git / path).write_text(f"git {path}")
    return root


def link(module: Path, name: str, target: str | Path) -> None:
    (module / "cmd/x/kodata" / name).symlink_to(target)


def chosen(module: Path, git: bool = True) -> Chosen:
    wanted = Wanted("cmd/x/kodata", "/var/run/ko", follow=True)
    return choose(str(module), (wanted,), git_directory=str(module.parent / ".git") * git)


def contents(found: Chosen) -> dict[str, str | None]:
    """What each path holds; None for directories."""
    result: dict[str, str | None] = {}
    for item in found.taken:
        path = item.entry.path.removeprefix("var/run/ko").lstrip("/")
        if isinstance(item.entry, Directory):
            result[path] = None
        else:
            assert isinstance(item.entry, File)
            with item.entry.content.opener() as file:  # type: ignore[union-attr] # all are Opened
                result[path] = file.read().decode()
    return result


def refused(module: Path, git: bool = True) -> UsageError:
    with pytest.raises(UsageError) as raised:
        chosen(module, git)
    return raised.value


_OWN = {"": None, "own": "cmd/x/kodata/own", "sub": None, "sub/two": "cmd/x/kodata/sub/two"}


def test_without_links_it_is_the_directory(module: Path) -> None:
    assert contents(chosen(module)) == _OWN
    assert contents(chosen(module, git=False)) == _OWN


def test_links_become_what_they_lead_to(module: Path) -> None:
    link(module, "LICENSE", "../../../LICENSE")
    link(module, "docs", "../../../docs")
    link(module, "again", "docs/a/one")
    link(module, "absolute", module / "LICENSE")
    assert contents(chosen(module)) == _OWN | {
        "LICENSE": "LICENSE", "docs": None, "docs/a": None, "docs/a/one": "docs/a/one",
        "again": "docs/a/one", "absolute": "LICENSE",
    }  # fmt: skip


def test_the_git_directory_tells_its_commit(module: Path) -> None:
    link(module, "HEAD", "../../../../.git/HEAD")
    link(module, "refs", "../../../../.git/refs")
    link(module, "packed", "../../../../.git/packed-refs")
    found = chosen(module)
    assert contents(found) == _OWN | {
        "HEAD": "git HEAD", "refs": None, "refs/heads": None,
        "refs/heads/main": "git refs/heads/main", "packed": "git packed-refs",
    }  # fmt: skip
    git = module.parent / ".git"
    assert {item.path for item in found.read} >= {str(git / "HEAD"), str(git / "refs/heads/main")}
    assert {item.path for item in found.listed} >= {str(git / "refs"), str(git / "refs/heads")}
    assert (str(module / "cmd/x/kodata/HEAD"), "../../../../.git/HEAD") in found.links
    assert (str(module / "cmd/x/kodata/HEAD"), str(git / "HEAD")) in found.leads


@pytest.mark.parametrize("target", ["config", "", "COMMIT_EDITMSG", "refs/../config"])
@pytest.mark.parametrize("inside", [False, True])
def test_the_rest_of_the_git_directory_stays_closed(
    module: Path, target: str, inside: bool
) -> None:
    if inside:
        (module.parent / ".git").rename(module / ".git")
        link(module, "l", f"../../../.git/{target}")
    else:
        link(module, "l", f"../../../../.git/{target}")
    error = refused(module, git=not inside)
    assert "'cmd/x/kodata/l'" in error.what
    assert "git directory" in error.what
    assert "credentials" in error.why


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../outside", "../../../.."])
def test_links_out_of_the_module_are_errors(module: Path, target: str) -> None:
    (module.parent / "outside").write_text("secret")
    link(module, "sub/l" if target.startswith("/") else "l", target)
    error = refused(module)
    assert repr(target) in error.what
    assert "not in the module" in error.what


def test_a_link_through_another_one_that_leaves_is_an_error(module: Path) -> None:
    (module.parent / "outside").write_text("secret")
    (module / "docs/way").symlink_to(module.parent)
    link(module, "l", "../../../docs/way/outside")
    assert "not in the module" in refused(module).what


def test_links_to_nothing_are_errors(module: Path) -> None:
    link(module, "l", "nothing")
    assert "which is not there" in refused(module).what


@pytest.mark.parametrize("target", [".", "..", "../../..", "sub/up"])
def test_directories_that_hold_themselves_are_errors(module: Path, target: str) -> None:
    link(module, "sub/up", "..")
    link(module, "l", target)
    assert "holds it" in refused(module).what


def test_special_files_are_errors(module: Path) -> None:
    os.mkfifo(module / "docs/pipe")
    link(module, "docs", "../../../docs")
    error = refused(module)
    assert "cmd/x/kodata/docs/pipe" in error.what
    assert "named pipe" in error.why
