# SPDX-License-Identifier: Apache-2.0
"""The compiler that cgo uses: found, for the right machine, able to make a program."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from wherry.errors import MachineError, UsageError
from wherry.golang.compilers import Compiler, find_compiler, require_compiler, why_broken
from wherry.oci.platform import parse_platform
from wherry.process.cancel import CancelToken


def compiler(directory: Path, name: str, machine: str, script: str = "exit 0") -> str:
    path = directory / name
    path.write_text(
        f'#!/bin/sh\nfor word in "$@"; do test "$word" = -dumpmachine && echo "{machine}" && exit\n'
        f"done\n{script}\n"
    )
    path.chmod(0o755)
    return str(path)


def env(directory: Path) -> dict[str, str]:
    return {"PATH": f"{directory}:/usr/bin:/bin"}


def test_one_on_path_with_its_words(tmp_path: Path) -> None:
    path = compiler(tmp_path, "mycc", "aarch64-linux-gnu")
    found = find_compiler({"CC": "mycc '-D A=1' -g"}, env(tmp_path), CancelToken())
    assert found == Compiler(("mycc", "-D A=1", "-g"), path, "aarch64-linux-gnu")
    assert found.architecture == "arm64"
    assert find_compiler({"CC": path}, {}, CancelToken()).path == path


def test_none(tmp_path: Path) -> None:
    with pytest.raises(MachineError) as caught:
        find_compiler({"CC": "mycc"}, {"PATH": f"{tmp_path}:relative"}, CancelToken())
    assert "mycc is not on PATH" in caught.value.why
    assert "apt-get install gcc" in caught.value.hint
    with pytest.raises(UsageError):
        find_compiler({"CC": "'open"}, {}, CancelToken())


@pytest.mark.parametrize(
    ("machine", "platform", "fits"),
    [
        ("x86_64-linux-gnu", "linux/amd64", True),
        ("x86_64-linux-gnu", "linux/386", True),
        ("x86_64-linux-gnu", "linux/arm64", False),
        ("aarch64-linux-gnu", "linux/arm64/v8.2", True),
        ("arm-linux-gnueabihf", "linux/arm/v7", True),
        ("armv7l-unknown-linux-gnueabihf", "linux/arm", True),
        ("x86_64-alpine-linux-musl", "linux/amd64", True),
        ("mips64el-linux-gnuabi64", "linux/mips64le", True),
        ("powerpc64le-linux-gnu", "linux/ppc64le", True),
        ("arm64-apple-darwin24.0.0", "linux/arm64", False),
        # One that does not say is let try.
        ("", "linux/arm64", True),
        ("what is this", "linux/arm64", True),
    ],
)
def test_for_a_platform(tmp_path: Path, machine: str, platform: str, fits: bool) -> None:
    compiler(tmp_path, "mycc", machine)
    wanted = parse_platform(platform)
    if fits:
        require_compiler({"CC": "mycc"}, wanted, env(tmp_path), CancelToken())
        return
    with pytest.raises(MachineError) as caught:
        require_compiler({"CC": "mycc"}, wanted, env(tmp_path), CancelToken())
    assert f"mycc makes programs for {machine}" in caught.value.why
    assert "CC=aarch64-linux-gnu" in caught.value.hint


def test_whether_it_works(tmp_path: Path) -> None:
    good = Compiler(("mycc",), compiler(tmp_path, "mycc", "x"), "x")
    assert why_broken(good, env(tmp_path), CancelToken()) == ""
    script = "echo 'stdlib.h: No such file' >&2; exit 1"
    bad = Compiler(("bad",), compiler(tmp_path, "bad", "x", script), "x")
    assert why_broken(bad, env(tmp_path), CancelToken()) == "stdlib.h: No such file"
    gone = Compiler(("gone",), str(tmp_path / "gone"), "x")
    assert "No such file" in why_broken(gone, env(tmp_path), CancelToken())
    nowhere = {**env(tmp_path), "TMPDIR": str(tmp_path / "none")}
    assert "none" in why_broken(good, nowhere, CancelToken())


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_the_machine_s_own() -> None:
    found = find_compiler({"CC": "gcc"}, os.environ, CancelToken())
    assert found.architecture
    assert why_broken(found, os.environ, CancelToken()) == ""
