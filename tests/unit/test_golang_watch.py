# SPDX-License-Identifier: Apache-2.0
"""The small parts that a build record stands on: clock, listings, look-ups, module files."""

import os
import time
from pathlib import Path

import pytest

from wherry.golang.embedded import parent_directories, watched_directories
from wherry.golang.listing import all_names, go_names
from wherry.golang.modfile import local_directories, module_path
from wherry.golang.record import look_up
from wherry.golang.signature import signature_of
from wherry.process.clock import file_clock_ns, is_local, next_file_clock_ns


def test_the_clock_is_not_ahead_of_the_file_system(tmp_path: Path) -> None:
    compared = 0
    for number in range(300):
        began = file_clock_ns()
        # Newer kernels stamp more finely what was asked for its times, as Python's open() does.
        path = tmp_path / str(number)
        file = os.open(path, os.O_CREAT | os.O_WRONLY)
        os.write(file, b"x")
        os.close(file)
        stamped = path.stat().st_ctime_ns
        # A virtual machine's clock is set back at times: then the two tell nothing of each other.
        if file_clock_ns() >= began:
            assert stamped >= began
            compared += 1
    assert compared > 200


def test_what_changed_before_the_clock_moved_on_is_stamped_earlier(tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / str(number)
        path.write_text("x")
        earlier = time.time_ns()
        began = next_file_clock_ns()
        if began > earlier:  # not set back
            assert path.stat().st_ctime_ns < began


def test_where_files_are_stamped_by_this_machine(tmp_path: Path) -> None:
    assert is_local(str(tmp_path))
    assert not is_local("/proc/self")
    assert not is_local(str(tmp_path / "gone"))


def test_a_name_on_path_is_never_from_a_relative_directory(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "go").write_text("#!/bin/sh\n")
    (tmp_path / "two" / "go").chmod(0o755)
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    relative = os.path.relpath(two)
    assert look_up("go", f"{relative}:{one}") == ""
    assert look_up("go", f"{relative}::{one}:{two}") == f"{two}/go"
    (tmp_path / "one" / "go").chmod(0o755)
    assert look_up("go", f"{two}:{one}") == f"{two}/go"
    assert look_up("go", "") == ""


def test_names_that_go_looks_at(tmp_path: Path) -> None:
    ignored = ("README.md", ".a.go", "_a.go", "go.mod.orig", "main.go~", "x.o")
    looked_at = ("a.go", "a_test.go", "b.s", "c.h", "d.syso", "go.mod", "go.sum", "default.pgo")
    for name in (*ignored, *looked_at):
        (tmp_path / name).touch()
    (tmp_path / "vendor").mkdir()
    assert go_names(str(tmp_path)).split("\0") == sorted([*looked_at, "vendor"])
    assert go_names(str(tmp_path / "gone")) == ""


def test_all_names_tell_the_kind(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dead").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe")
    assert all_names(str(tmp_path)).split("\0") == ["dead@", "dir/", "file", "link@", "pipe!"]
    assert all_names(str(tmp_path / "gone")) == ""


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("static", {"static", "static/a", "static/a/b"}),
        ("all:static/a", {"static/a", "static/a/b"}),
        ("static/a/x.txt", {"static/a"}),
        ("static/*", {"static", "static/a", "static/a/b"}),
        ("*/a", {".", "static/a", "static/a/b", "other"}),
        ("missing/x.txt", {"."}),
        ("static/missing/x.txt", {"static"}),
        ("[s]tatic/a", {".", "static/a", "static/a/b", "other"}),
    ],
)
def test_directories_below_a_pattern(tmp_path: Path, pattern: str, expected: set[str]) -> None:
    (tmp_path / "static/a/b").mkdir(parents=True)
    (tmp_path / "static/a/x.txt").touch()
    (tmp_path / "other").mkdir()
    found = watched_directories(str(tmp_path), [pattern])
    assert {os.path.relpath(path, tmp_path) for path in found} == expected


def test_directories_that_lead_to_files() -> None:
    assert parent_directories(["a/b/c.txt", "a/d.txt", "e.txt"]) == {"a", "a/b"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("module example.com/m\n", "example.com/m"),
        ('// first\n\nmodule "example.com/m" // why\n', "example.com/m"),
        ("go 1.21\n", ""),
        ("module\n", ""),
    ],
)
def test_the_path_of_a_module(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "go.mod"
    path.write_text(text)
    assert module_path(str(path)) == expected
    assert module_path(str(tmp_path / "gone")) == ""


def test_directories_of_a_module_file_from_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "alt" / "other.mod"
    path.parent.mkdir()
    path.write_text(
        "module m\n\nreplace a.com/a => ../a\n\nreplace (\n\tb.com/b v1.0.0 => ./b\n"
        '\tc.com/c => d.com/d v1.2.3\n\te.com/e => "/abs/e" // absolute\n)\n'
    )
    expected = ("/top/a", "/top/m/b", "/abs/e")
    assert local_directories(str(path), "/top/m") == expected
    assert local_directories(str(path))[0] == str(tmp_path / "a")


def test_a_signature_tells_of_every_edit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    before, status = signature_of(str(path)), path.stat()
    # Past the next step of the kernel's clock, of which the shortest common is 100 a second.
    time.sleep(0.03)
    path.write_text("two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (3, status.st_mtime_ns)
    assert signature_of(str(path)) != before
    assert signature_of(str(tmp_path / "gone")) == ""
