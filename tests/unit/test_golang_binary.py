# SPDX-License-Identifier: Apache-2.0
"""Facts of binaries, compared with `go version -m`; older and foreign forms made by hand."""

import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from golang_support import go_env, needs_go, the_go, write_files
from wherry.errors import BuildError
from wherry.golang.binary import read_binary
from wherry.golang.buildinfo import MAGIC, BuildInfo, BuildModule, parse_module_text
from wherry.oci.platform import Platform, host_platform


def as_go_prints(info: BuildInfo) -> list[str]:
    """`go version -m` without its first line, settings unquoted."""

    def module(kind: str, value: BuildModule) -> list[str]:
        lines = ["\t".join(filter(None, (kind, value.path, value.version, value.sum)))]
        return lines + (module("=>", value.replaced_by) if value.replaced_by else [])

    lines = [f"path\t{info.path}"] if info.path else []
    lines += module("mod", info.main) if info.main else []
    for dependency in info.modules:
        lines += module("dep", dependency)
    return lines + [f"build\t{name}={value}" for name, value in info.settings]


def go_version(path: str, tmp_path: Path) -> tuple[str, list[str]]:
    output = subprocess.run(
        [the_go().path, "version", "-m", path],
        env=go_env(tmp_path), capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    lines = [
        re.sub(r'^(build\t[^"=]+=)"(.*)"$', r"\1\2", line) for line in map(str.strip, output[1:])
    ]
    # Go prints an empty line after a replacement.
    return output[0].rpartition(": ")[2], [line for line in lines if line]


def build(root: Path, *flags: str, platform: Platform | None = None, cgo: bool = False) -> str:
    out = str(root / "out")
    subprocess.run(
        [the_go().path, "build", "-o", out, *flags, "."],
        cwd=root, env=go_env(root, platform, cgo=cgo), check=True,
    )  # fmt: skip
    return out


@pytest.fixture
def module(tmp_path: Path) -> Path:
    write_files(
        tmp_path / "lib",
        {"go.mod": "module example.com/lib\n\ngo 1.21\n", "lib.go": "package lib\n\nfunc F() {}\n"},
    )
    return write_files(
        tmp_path / "app",
        {
            "go.mod": "module example.com/m\n\ngo 1.21\n\nrequire example.com/lib v1.2.3\n\n"
            "replace example.com/lib => ../lib\n",
            "main.go": 'package main\n\nimport "example.com/lib"\n\nfunc main() { lib.F() }\n',
        },
    )


@needs_go
@pytest.mark.parametrize(
    "program", ["bin/go", "bin/gofmt", "pkg/tool/*/compile", "pkg/tool/*/link"]
)
def test_the_toolchains_own_programs(program: str, tmp_path: Path) -> None:
    root = subprocess.run(
        [the_go().path, "env", "GOROOT"],
        env=go_env(tmp_path), capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    (path,) = Path(root).glob(program)
    facts = read_binary(str(path))
    version, lines = go_version(str(path), tmp_path)
    assert facts.build_info is not None
    assert (facts.build_info.go_version, as_go_prints(facts.build_info)) == (version, lines)
    assert facts.architecture == host_platform().architecture
    assert facts.size == path.stat().st_size


@needs_go
@pytest.mark.parametrize("flags", [(), ("-trimpath", "-ldflags=-s -w")])
def test_a_built_program(module: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    out = build(module, *flags)
    facts = read_binary(out)
    info = facts.build_info
    assert info is not None
    assert (info.go_version, as_go_prints(info)) == go_version(out, tmp_path)
    assert info.path == "example.com/m"
    (dependency,) = info.modules
    assert (dependency.path, dependency.version) == ("example.com/lib", "v1.2.3")
    assert dependency.replaced_by is not None
    assert info.setting("CGO_ENABLED") == "0"
    assert info.setting("nothing") == ""
    assert (facts.is_static, facts.interpreter, facts.needed) == (True, "", ())


@pytest.mark.parametrize("architecture", ["386", "arm", "mips64", "ppc64le", "s390x", "riscv64"])
def test_other_architectures(tmp_path: Path, architecture: str) -> None:
    """The word size and byte order of a foreign program do not matter (assembled by hand)."""
    facts = read_binary(str(write(tmp_path, foreign(architecture))))
    assert facts.architecture == architecture
    assert facts.build_info == BuildInfo("go1.17", "example.com/old", BuildModule("a", "v1"))
    assert facts.is_static


@needs_go
def test_a_dynamic_and_a_static_pie(tmp_path: Path) -> None:
    source = {"main.go": 'package main\n\nimport "C"\n\nfunc main() {}\n'}
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler: cgo programs cannot be built")
    dynamic = read_binary(build(write_files(tmp_path / "a", source), cgo=True))
    assert not dynamic.is_static
    assert "ld" in dynamic.interpreter
    assert any(name.startswith("libc.so") for name in dynamic.needed)
    assert dynamic.build_info is not None
    linker = "-ldflags=-linkmode=external -extldflags=-static-pie"
    flags = ("-buildmode=pie", linker)
    pie = read_binary(build(write_files(tmp_path / "b", source), *flags, cgo=True))
    assert (pie.is_static, pie.interpreter, pie.needed) == (True, "", ())
    assert pie.build_info is not None
    assert pie.build_info.setting("-buildmode") == "pie"


def test_a_program_without_go_in_it() -> None:
    facts = read_binary(str(Path(sys.executable).resolve()))
    assert facts.build_info is None
    assert not facts.is_static


@pytest.mark.parametrize(
    "content", [b"", b"#!/bin/sh\n", b"!<arch>\n", b"\x7fELF", b"\x7fELF\2\1\1"]
)
def test_no_program(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BuildError) as caught:
        read_binary(str(write(tmp_path, content)))
    assert "ELF" in caught.value.what


@pytest.mark.parametrize("cut", [0x200, 0x228, 0x240, 0x250, 0x280])
def test_damaged_build_information_is_none(tmp_path: Path, cut: int) -> None:
    program = bytearray(foreign("amd64"))
    program[cut:] = b"\xff" * (len(program) - cut)
    assert read_binary(str(write(tmp_path, bytes(program)))).build_info is None


def test_a_magic_that_is_not_aligned_is_no_header(tmp_path: Path) -> None:
    program = foreign("amd64").replace(b"decoy-place-----", b"xx" + MAGIC)
    info = read_binary(str(write(tmp_path, program))).build_info
    assert info is not None
    assert info.go_version == "go1.17"


def test_quoted_settings_and_replaced_main_modules() -> None:
    text = (
        "path\tx\nmod\tm\t(devel)\t\n=>\tn\tv2\th1:n=\ndep\ta\tv1\th1:a=\n"
        'build\t-ldflags="-s -w"\nbuild\tA="tab\\tquote\\""\nbuild\t"a=b"=`c`\nbuild\tE=\nnew\tx\n'
    )
    info = parse_module_text("go1.30", text)
    assert info.main == BuildModule("m", "(devel)", "", BuildModule("n", "v2", "h1:n="))
    assert info.modules == (BuildModule("a", "v1", "h1:a="),)
    assert info.settings == (
        ("-ldflags", "-s -w"), ("A", 'tab\tquote"'), ("a=b", "c"), ("E", ""),
    )  # fmt: skip


MACHINES = {
    "386": (3, 32, "<"), "amd64": (62, 64, "<"), "arm": (40, 32, "<"), "mips64": (8, 64, ">"),
    "ppc64le": (21, 64, "<"), "s390x": (22, 64, ">"), "riscv64": (243, 64, "<"),
}  # fmt: skip


def write(directory: Path, content: bytes) -> Path:
    path = directory / "program"
    path.write_bytes(content)
    return path


def foreign(architecture: str) -> bytes:
    """An ELF file of one writable segment, with build information as before Go 1.18."""
    machine, bits, order = MACHINES[architecture]
    word, base, offset = ("I" if bits == 32 else "Q"), 0x10000, 0x200
    text = b"S" * 16 + b"path\texample.com/old\nmod\ta\tv1\t\n" + b"E" * 16
    version = b"go1.17"
    width = bits // 8
    # Header at 0x20 of the segment, string headers at 0x60 and 0x80, strings from 0xa0.
    strings = (0xA0, len(version)), (0xB0, len(text))
    body = bytearray(0xB0 + len(text))
    body[0x00:0x10] = b"decoy-place-----"
    flags = 1 if order == ">" else 0
    pointers = struct.pack(f"{order}2{word}", base + 0x60, base + 0x80)
    header = MAGIC + bytes([width, flags]) + pointers
    body[0x20 : 0x20 + len(header)] = header
    for place, (start, length) in zip((0x60, 0x80), strings, strict=True):
        body[place : place + 2 * width] = struct.pack(f"{order}2{word}", base + start, length)
    body[0xA0 : 0xA0 + len(version)] = version
    body[0xB0:] = text
    ident = b"\x7fELF" + bytes([bits // 32, 1 if order == "<" else 2, 1]) + bytes(9)
    header_size, entry_size = (52, 32) if bits == 32 else (64, 56)
    elf = ident + struct.pack(
        f"{order}HHI{word}{word}{word}IHHHHHH",
        2, machine, 1, base, header_size, 0, 0, header_size, entry_size, 1, 0, 0, 0,
    )  # fmt: skip
    size = len(body)
    if bits == 32:
        segment = struct.pack(f"{order}8I", 1, offset, base, base, size, size, 6, 4096)
    else:
        segment = struct.pack(f"{order}II6Q", 1, 6, offset, base, base, size, size, 4096)
    return (elf + segment).ljust(offset, b"\0") + bytes(body)
