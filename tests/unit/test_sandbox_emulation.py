# SPDX-License-Identifier: Apache-2.0
"""Which platforms run here: entries of binfmt_misc, and programs that do nothing."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from wherry.oci.platform import Platform, host_platform, parse_platform
from wherry.sandbox import emulation
from wherry.sandbox.emulation import (
    find_entry,
    read_entries,
    runnable,
    starts,
    starts_like,
    way_to_run,
)
from wherry.sandbox.foreign_programs import PROGRAMS, least_program

# The bytes of qemu's own entries: those that differ between programs of one kind are masked out.
ARM64_MAGIC = "7f454c460201010000000000000000000200b700"
ARM64_MASK = "ffffffffffffff00fffffffffffffffffeffffff"


@pytest.fixture(autouse=True)
def amd64(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same machine everywhere."""
    monkeypatch.setattr(emulation, "host_platform", lambda: Platform("linux", "amd64"))


def machine(root: Path, status: str = "enabled", **entries: str) -> Path:
    directory = root / "proc/sys/fs/binfmt_misc"
    directory.mkdir(parents=True)
    (directory / "status").write_text(f"{status}\n")
    (directory / "register").write_text("")
    for name, text in entries.items():
        (directory / name.replace("_", "-")).write_text(text)
    return root


def entry(flags: str = "POCF", state: str = "enabled") -> str:
    return (
        f"{state}\ninterpreter /usr/bin/qemu-aarch64-static\nflags: {flags}\noffset 0\n"
        f"magic {ARM64_MAGIC}\nmask {ARM64_MASK}\n"
    )


def never(_program: bytes) -> bool:
    return False


ARM64 = Platform("linux", "arm64")


@pytest.mark.parametrize("architecture", sorted(PROGRAMS))
def test_programs_are_elf_files_of_their_kind(architecture: str) -> None:
    program = least_program(architecture)
    kind = PROGRAMS[architecture]
    assert program[:4] == b"\x7fELF"
    assert (program[4], program[5]) == (kind.bits // 32, 1 if kind.order == "<" else 2)
    assert struct.unpack_from(f"{kind.order}H", program, 18) == (kind.machine,)
    assert parse_platform(architecture).architecture == architecture


def test_this_machines_program_starts() -> None:
    assert starts(least_program(host_platform().architecture))
    assert not starts(b"no program")


def test_a_kind_is_known_by_a_programs_head(monkeypatch: pytest.MonkeyPatch) -> None:
    assert starts_like(least_program(host_platform().architecture)[:20])
    tried: list[bytes] = []
    monkeypatch.setattr(emulation, "starts", lambda program: bool(tried.append(program)))
    for architecture in ("arm64", "mips", "mips64le", "s390x"):
        assert not starts_like(least_program(architecture)[:64])
        assert tried.pop() == least_program(architecture)
    assert not starts_like(b"\x7fELF" + b"\2\1" + bytes(12) + b"\xff\xff")
    assert not starts_like(b"\x7fELF")
    assert tried == []


def test_an_emulator_with_the_flag_f_will_do(tmp_path: Path) -> None:
    root = machine(tmp_path, qemu_aarch64=entry())
    assert runnable(ARM64, root) == ""
    way = way_to_run(ARM64, root, never)
    assert way.by == "the emulator qemu-aarch64-static"


@pytest.mark.parametrize(
    ("status", "text", "problem", "remedy"),
    [
        ("enabled", entry("PO"), "without the flag F", "qemu-user-static"),
        ("enabled", entry(state="disabled"), "switched off", "binfmt_misc/qemu-aarch64"),
        ("disabled", entry(), "switched off", "binfmt_misc/status"),
    ],
)
def test_an_emulator_that_will_not_do_is_explained(
    tmp_path: Path, status: str, text: str, problem: str, remedy: str
) -> None:
    root = machine(tmp_path, status, qemu_aarch64=text)
    way = way_to_run(ARM64, root, never)
    assert problem in way.problem
    assert "linux/arm64" in way.problem
    assert remedy in way.remedy


def test_the_enabled_entry_counts(tmp_path: Path) -> None:
    root = machine(tmp_path, a_old=entry(state="disabled"), b_new=entry())
    found = find_entry(least_program("arm64"), root)
    assert found is not None
    assert found.name == "b-new"


@pytest.mark.parametrize("architecture", sorted(set(PROGRAMS) - {"arm64"}))
def test_an_entry_is_for_one_architecture(tmp_path: Path, architecture: str) -> None:
    root = machine(tmp_path, qemu_aarch64=entry())
    assert find_entry(least_program(architecture), root) is None


@pytest.mark.parametrize(
    "text",
    [
        "enabled\ninterpreter /usr/bin/java\nflags: \nextension .jar\n",
        "enabled\ninterpreter /x\nflags: F\noffset 0\nmagic 7f4\n",
        "enabled\ninterpreter /x\nflags: F\noffset 0\nmagic 7f45\nmask ff\n",
    ],
)
def test_other_entries_are_passed_over(tmp_path: Path, text: str) -> None:
    assert read_entries(machine(tmp_path, other=text)) == ()


def test_without_entries_a_start_decides(tmp_path: Path) -> None:
    assert way_to_run(ARM64, tmp_path, lambda _: True).by == "an emulator"
    way = way_to_run(ARM64, tmp_path, never)
    assert "cannot run linux/arm64" in way.problem
    assert "apt-get install qemu-user-static" in way.remedy
    assert "qemu-aarch64-static" in way.remedy


def test_the_32_bit_relative_runs_on_the_processor(tmp_path: Path) -> None:
    relative = Platform("linux", "386")
    assert way_to_run(relative, tmp_path, lambda _: True).by == "the amd64 processor"
    assert way_to_run(relative, tmp_path, never).problem


@pytest.mark.parametrize(
    ("host", "asked", "runs"),
    [
        ("arm/v7", "arm/v6", True),
        ("arm/v6", "arm/v7", False),
        ("arm64", "arm64", True),
        ("amd64", "amd64/v2", True),
        ("amd64", "amd64/v3", False),
    ],
)
def test_variants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, asked: str, runs: bool
) -> None:
    monkeypatch.setattr(emulation, "host_platform", lambda: parse_platform(f"linux/{host}"))
    (tmp_path / "proc").mkdir()
    flags = "fpu cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3 avx"
    (tmp_path / "proc/cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    why = runnable(parse_platform(f"linux/{asked}"), tmp_path)
    assert (why == "") is runs
    assert runs or "build for --platform" in why


def test_what_is_no_linux_does_not_run(tmp_path: Path) -> None:
    assert "no Linux" in runnable(Platform("windows", "amd64"), tmp_path)


def test_this_machines_platform_comes_first() -> None:
    assert emulation.platforms()[0].by == "this machine"
