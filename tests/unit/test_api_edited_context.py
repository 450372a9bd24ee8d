# SPDX-License-Identifier: Apache-2.0
"""A copy of a build context in which a line of the program is changed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from wherry.advice.context import Context
from wherry.advice.reading.go_module import GoModule
from wherry.advice.subject import Subject
from wherry.api.edited_context import EditedContext
from wherry.errors import MachineError
from wherry.fstree.ignore import IgnoreRules
from wherry.process.cancel import CancelToken

MAIN = "package main\n\nfunc main() {}\n"


def context(root: Path, **files: str) -> Path:
    for name, text in {"go.mod": "module app\n\ngo 1.26\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def copied(root: Path, target: Path, *rules: str) -> EditedContext:
    return EditedContext(str(root), str(target), [IgnoreRules(rules)], CancelToken())


def subject(root: Path, text: str) -> Subject:
    found = Context(str(root))
    return Subject("Dockerfile", text, found, GoModule.found(str(root), dict(os.environ)))


def test_what_a_build_gets_is_copied_as_it_is(tmp_path: Path) -> None:
    root = context(tmp_path / "app", **{"main.go": MAIN, "a/b.txt": "b", "tmp/x": "x"})
    (root / "run.sh").write_text("#!")
    (root / "run.sh").chmod(0o750)
    (root / "a").chmod(0o555)
    (root / "link").symlink_to("a")
    os.utime(root / "main.go", (1, 2))
    os.mkfifo(root / "pipe")
    copied(root, tmp_path / "copy", "tmp", "*.toml", "*.md", "!kept/r.md")
    copy = tmp_path / "copy"
    names = sorted(str(path.relative_to(copy)) for path in copy.rglob("*"))
    assert names == ["a", "a/b.txt", "go.mod", "link", "main.go", "run.sh"]
    assert os.readlink(copy / "link") == "a"
    assert stat.S_IMODE((copy / "run.sh").stat().st_mode) == 0o750
    # Its own may have been taken from it: files in it are to be changed.
    assert stat.S_IMODE((copy / "a").stat().st_mode) == 0o755
    assert (copy / "main.go").stat().st_mtime == 2
    (root / "a").chmod(0o755)


def test_settings_count_though_they_are_hidden(tmp_path: Path) -> None:
    root = context(tmp_path / "app", **{"wherry.toml": "", "wherry.lock": "", "other.toml": ""})
    copied(root, tmp_path / "copy", "*")
    assert sorted(os.listdir(tmp_path / "copy")) == ["wherry.lock", "wherry.toml"]


def test_a_file_below_what_is_hidden_is_there_where_rules_except_it(tmp_path: Path) -> None:
    root = context(tmp_path / "app", **{"docs/a.md": "", "docs/b.md": ""})
    copied(root, tmp_path / "copy", "docs", "!docs/a.md")
    assert os.listdir(tmp_path / "copy" / "docs") == ["a.md"]


def test_a_line_is_changed_in_the_copy_alone(tmp_path: Path) -> None:
    root = context(tmp_path / "app", **{"main.go": MAIN})
    copy = copied(root, tmp_path / "copy")
    for mark in ("A1", "B2"):
        copy.edit("main.go", mark)
        text = (tmp_path / "copy" / "main.go").read_text()
        assert text == f'{MAIN}\nvar wherry{mark} = "{mark}"\n'
    assert (root / "main.go").read_text() == MAIN


@pytest.mark.parametrize(
    ("command", "files", "found"),
    [
        ("go build .", {"main.go": MAIN, "a.go": MAIN}, "main.go"),
        ("go build .", {"b.go": MAIN, "a.go": f"//go:build windows\n\n{MAIN}"}, "b.go"),
        ("go build .", {"b.go": MAIN, "a_test.go": MAIN}, "b.go"),
        ("go build ./cmd/b", {"cmd/a/main.go": MAIN, "cmd/b/main.go": MAIN}, "cmd/b/main.go"),
        # Nobody says which one: the first.
        ("make", {"cmd/a/main.go": MAIN, "cmd/b/main.go": MAIN}, "cmd/a/main.go"),
        ("make", {"lib.go": "package lib\n"}, ""),
    ],
)
def test_the_file_of_the_program_that_is_built(
    tmp_path: Path, command: str, files: dict[str, str], found: str
) -> None:
    root = context(tmp_path / "app", **files)
    text = f"FROM golang:1.27\nWORKDIR /src\nCOPY . .\nRUN {command}\n"
    assert copied(root, tmp_path / "copy").source_of(subject(root, text)) == found


def test_a_context_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot be copied"):
        copied(tmp_path / "nowhere", tmp_path / "copy")
