# SPDX-License-Identifier: Apache-2.0
"""The image's own paths, the check of its program, and the runs' directories."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest

from wherry.sandbox.executable import check_program, why_not
from wherry.sandbox.request import CannotExecute, ProgramNotFound
from wherry.sandbox.rootpath import make_mount_point, read_text, resolve
from wherry.sandbox.rundir import Workplace, leftovers, run_directory


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    (root / "abs").symlink_to("/usr")
    (root / "out").symlink_to("../../../../etc")
    (root / "loop").symlink_to("loop")
    return root


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/bin/sh", "usr/bin/sh"),
        ("abs/bin", "usr/bin"),
        ("/abs/../bin", "usr/bin"),
        ("/out/passwd", "etc/passwd"),
        ("/../../x", "x"),
        ("/", ""),
        ("/./usr//bin/", "usr/bin"),
    ],
)
def test_paths_stay_inside(root: Path, path: str, expected: str) -> None:
    assert resolve(str(root), path) == os.path.normpath(root / expected)


def test_links_in_a_circle(root: Path) -> None:
    with pytest.raises(OSError, match="symbolic links"):
        resolve(str(root), "/loop/x")


def test_files_are_read_only_inside_and_only_regular(root: Path) -> None:
    (root / "etc").mkdir()
    (root / "etc/passwd").symlink_to("/etc/real")
    assert read_text(str(root), "/etc/passwd") == ""
    (root / "etc/real").write_text("root")
    assert read_text(str(root), "/etc/passwd") == "root"
    os.mkfifo(root / "etc/group")
    assert read_text(str(root), "/etc/group") == ""


def test_mount_points_are_made_where_missing(root: Path) -> None:
    assert os.path.isdir(make_mount_point(str(root), "/abs/new/directory", True))
    assert (root / "usr/new/directory").is_dir()
    made = make_mount_point(str(root), "/etc/resolv.conf", False)
    assert os.path.isfile(made)
    assert make_mount_point(str(root), "/etc/resolv.conf", False) == made


def program(root: Path, data: bytes, mode: int = 0o755) -> None:
    path = root / "usr/bin/tool"
    path.write_bytes(data)
    path.chmod(mode)


def elf(machine: int = 0, loader: bytes = b"") -> bytes:
    """A 64-bit ELF header with at most one program header, for a loader."""
    own = Path(sys.executable).read_bytes()[:20]
    machine = machine or struct.unpack_from("<H", own, 18)[0]
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 2, machine, 1)
    head += struct.pack("<QQQIHHHHHH", 0, 64, 0, 0, 64, 56, 1 if loader else 0, 0, 0, 0)
    if loader:
        head += struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(loader) + 1, 0, 1) + loader + b"\0"
    return head


def check(root: Path, name: str = "tool") -> str:
    return check_program(str(root), name, "/sbin:/bin", "/usr")


@pytest.mark.parametrize("name", ["tool", "/bin/tool", "bin/tool", "./bin/tool"])
def test_program_is_found(root: Path, name: str) -> None:
    program(root, elf())
    assert check(root, name) == str(root / "usr/bin/tool")


def test_program_that_is_not_there(root: Path) -> None:
    with pytest.raises(ProgramNotFound) as caught:
        check(root)
    assert "in $PATH (/sbin:/bin)" in caught.value.why
    with pytest.raises(ProgramNotFound):
        check(root, "/usr/tool")


@pytest.mark.parametrize("name", ["tool", "/usr/bin", "/loop"])
def test_program_that_may_not_be_executed(root: Path, name: str) -> None:
    program(root, elf(), 0o644)
    with pytest.raises(CannotExecute):
        check(root, name)


def test_missing_loader_and_interpreter_are_named(root: Path) -> None:
    program(root, elf(loader=b"/lib64/ld-linux.so.2"))
    with pytest.raises(ProgramNotFound) as caught:
        check(root)
    assert "loader /lib64/ld-linux.so.2" in caught.value.why
    program(root, b"#! /usr/bin/python3 -x\nprint()\n")
    with pytest.raises(ProgramNotFound, match="tool") as caught:
        check(root)
    assert "interpreter /usr/bin/python3" in caught.value.why


def test_present_loader_is_fine(root: Path) -> None:
    (root / "usr/bin/ld.so").write_bytes(elf())
    program(root, elf(loader=b"/bin/ld.so"))
    assert check(root)


def test_wrong_formats_are_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.sandbox.executable._BINFMT", str(root / "none"))
    for data, words in (
        (b"text", "neither an ELF"),
        (b"", "neither an ELF"),
        (elf(8), "machine 8"),
    ):
        program(root, data)
        with pytest.raises(CannotExecute, match="tool") as caught:
            check(root)
        assert words in caught.value.why


def test_emulators_are_the_kernels_matter(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.sandbox.executable.starts_like", lambda head: head == elf(8))
    program(root, elf(8))
    assert check(root)


def test_errors_of_exec() -> None:
    assert isinstance(why_not(2, "x"), ProgramNotFound)
    assert isinstance(why_not(13, "x"), CannotExecute)
    assert isinstance(why_not(8, "x"), CannotExecute)
    assert why_not(12, "x") is None


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(str(tmp_path / "tmp"), str(tmp_path / "locks"))


def names(place: Workplace) -> list[str]:
    return sorted(os.listdir(place.directory) + os.listdir(place.locks))


def test_run_directory_is_gone_afterwards(place: Workplace) -> None:
    with run_directory(place) as directory:
        Path(directory.path, "rootfs").mkdir()
        name = os.path.basename(directory.path)
        assert names(place) == [name, f"tmp-{name}"]
        assert os.stat(directory.path).st_mode & 0o777 == 0o700
    assert names(place) == []


def test_leftovers_are_those_without_a_holder(place: Workplace) -> None:
    with run_directory(place) as held:
        dead = Path(place.directory, "run-dead")
        (dead / "rootfs").mkdir(parents=True)
        Path(place.directory, "other").mkdir()
        with leftovers(place) as found:
            assert found == (str(dead),)
            with leftovers(place) as again:
                assert again == ()
        assert not dead.exists()
        assert os.path.isdir(held.path)
    assert names(place) == ["other"]


def test_a_lock_alone_is_a_leftover_too(place: Workplace) -> None:
    os.makedirs(place.locks)
    os.makedirs(place.directory)
    Path(place.locks, "tmp-run-dead").touch()
    Path(place.locks, "tmp-123-other").touch()
    with leftovers(place):
        pass
    assert names(place) == ["tmp-123-other"]
