# SPDX-License-Identifier: Apache-2.0
"""Variants in Go's words: what is set, what Go makes of it, and what the image says."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from golang_support import MAIN, go_env, needs_go, the_go, write_files
from wherry.errors import MachineError
from wherry.golang.variants import image_platform, variant_environment
from wherry.oci.platform import Platform, host_platform, parse_exact, parse_platform

# What `go list` calls the level of instructions that it compiles for.
TAGS = [
    ("linux/386/sse2", "386.sse2"),
    ("linux/386/softfloat", "386.softfloat"),
    *((f"linux/amd64/v{level}", f"amd64.v{level}") for level in (1, 2, 3, 4)),
    *((f"linux/arm/v{level}", f"arm.{level}") for level in (5, 6, 7)),
    ("linux/arm64/v8", "arm64.v8.0"),
    ("linux/arm64/v8.9", "arm64.v8.9"),
    ("linux/arm64/v9", "arm64.v9.0"),
    ("linux/arm64/v9.5", "arm64.v9.5"),
    ("linux/mips/softfloat", "mips.softfloat"),
    ("linux/mipsle/hardfloat", "mipsle.hardfloat"),
    ("linux/mips64/softfloat", "mips64.softfloat"),
    ("linux/mips64le/hardfloat", "mips64le.hardfloat"),
    ("linux/ppc64le/power8", "ppc64le.power8"),
    ("linux/ppc64le/power10", "ppc64le.power10"),
    ("linux/riscv64/rva20u64", "riscv64.rva20u64"),
    ("linux/riscv64/rva23u64", "riscv64.rva23u64"),
]


def go(directory: Path, platform: Platform, *args: str, **env: str) -> str:
    return subprocess.run(
        [the_go().path, *args], cwd=directory, env=go_env(directory, platform, **env),
        check=True, capture_output=True, text=True, timeout=200,
    ).stdout  # fmt: skip


@needs_go
@pytest.mark.parametrize(("text", "tag"), TAGS)
def test_go_compiles_for_it(tmp_path: Path, text: str, tag: str) -> None:
    platform = parse_exact(text)
    # Another setting of the user's, which must not count.
    others = {"GOAMD64": "v2", "GOARM": "6", "GOARM64": "v8.3", "GORISCV64": "rva22u64"}
    told = go(tmp_path, platform, "list", "-f", "{{context.ToolTags}}", "unsafe", **others)
    tags = [word for word in told.strip("[]\n").split() if word.startswith(tag.split(".")[0])]
    # Levels come with all the lower ones; the highest is what is compiled for.
    assert tags[-1] == tag or (tag in tags and "arm64.v9" in tag)


@needs_go
@pytest.mark.parametrize(
    ("asked", "env", "said"),
    [
        ("linux/amd64", {}, "linux/amd64"),
        ("linux/amd64", {"GOAMD64": "v3"}, "linux/amd64/v3"),
        ("linux/amd64/v1", {"GOAMD64": "v3"}, "linux/amd64"),
        ("linux/arm", {}, "linux/arm/v7"),
        ("linux/arm", {"GOARM": "6,softfloat"}, "linux/arm/v6"),
        ("linux/arm/v5", {"GOARM": "7"}, "linux/arm/v5"),
        ("linux/arm64", {"GOARM64": "v8.0,lse"}, "linux/arm64"),
        ("linux/arm64", {"GOARM64": "v8.1,crypto"}, "linux/arm64/v8.1"),
        ("linux/arm64", {"GOARM64": "v9.0"}, "linux/arm64/v9"),
        ("linux/arm64/v8", {"GOARM64": "v9.0"}, "linux/arm64"),
        ("linux/386", {"GO386": "softfloat"}, "linux/386"),
        ("linux/mipsle/softfloat", {}, "linux/mipsle"),
        ("linux/ppc64le", {"GOPPC64": "power9"}, "linux/ppc64le/power9"),
        ("linux/riscv64", {"GORISCV64": "rva22u64"}, "linux/riscv64/rva22u64"),
        ("linux/s390x", {}, "linux/s390x"),
    ],
)
def test_what_the_image_says(tmp_path: Path, asked: str, env: dict[str, str], said: str) -> None:
    platform = parse_exact(asked)
    found = image_platform(platform, json.loads(go(tmp_path, platform, "env", "-json", **env)))
    assert str(found) == said
    assert parse_platform(said) == found


@needs_go
def test_go_env_w_counts_too(tmp_path: Path) -> None:
    settings = tmp_path / "goenv"
    settings.write_text("GOAMD64=v2\n")
    platform = parse_exact("linux/amd64")
    told = json.loads(go(tmp_path, platform, "env", "-json", GOENV=str(settings)))
    assert image_platform(platform, told) == Platform("linux", "amd64", "v2")


def test_a_go_that_does_not_know_the_variable() -> None:
    variables = {"GOVERSION": "go1.22.1", "GOAMD64": "v1"}
    with pytest.raises(MachineError) as caught:
        image_platform(parse_exact("linux/arm64/v8.2"), variables)
    assert "go1.22.1 does not know GOARM64" in caught.value.why
    assert image_platform(parse_exact("linux/arm64"), variables) == Platform("linux", "arm64")


def test_nothing_is_set_without_a_variant() -> None:
    assert variant_environment(Platform("linux", "amd64")) == ()
    assert variant_environment(Platform("linux", "s390x")) == ()
    assert variant_environment(Platform("linux", "mips64le", "softfloat")) == (
        ("GOMIPS64", "softfloat"),
    )


@pytest.mark.soak
@needs_go
@pytest.mark.parametrize(
    ("text", "emulator", "setting"),
    [
        ("linux/amd64/v2", "qemu-x86_64", "GOAMD64=v2"),
        # On amd64 it runs as it is, and qemu-i386 is no better a processor than that.
        ("linux/386/softfloat", "", "GO386=softfloat"),
        ("linux/arm/v5", "qemu-arm", "GOARM=5"),
        ("linux/arm64/v8", "qemu-aarch64", "GOARM64=v8.0"),
        ("linux/arm64/v8.1", "qemu-aarch64", "GOARM64=v8.1"),
        ("linux/mipsle/softfloat", "qemu-mipsel", "GOMIPS=softfloat"),
        ("linux/ppc64le/power9", "qemu-ppc64le", "GOPPC64=power9"),
        ("linux/riscv64/rva20u64", "qemu-riscv64", "GORISCV64=rva20u64"),
        ("linux/s390x", "qemu-s390x", "GOARCH=s390x"),
    ],
)
def test_a_program_says_its_variant_and_runs(
    tmp_path: Path, text: str, emulator: str, setting: str
) -> None:
    module = write_files(tmp_path, {"main.go": MAIN})
    platform = parse_exact(text)
    go(module, platform, "build", "-o", "program", ".")
    told = go(module, platform, "version", "-m", "program")
    assert setting in told.replace("\t", " ").split()
    found = shutil.which(emulator) or shutil.which(f"{emulator}-static")
    if found is None and (emulator or host_platform().architecture != "amd64"):
        pytest.skip(f"no {emulator or 'amd64'} (qemu-user): built, and not started")
    done = subprocess.run(
        [*([found] if found else []), str(module / "program")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == "1\n"
