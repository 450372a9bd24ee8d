# SPDX-License-Identifier: Apache-2.0
"""ELF facts beside what binutils say of the same files; damaged and hostile files."""

from __future__ import annotations

import glob
import re
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader_bases import compile_c, least, linkage, needs_gcc
from wherry.golang.elf_file import ElfFile, NotElf
from wherry.golang.elf_versions import needed_versions
from wherry.golang.linkage import Linkage, linkage_of, read_linkage

HOST = sorted({
    str(Path(path).resolve())
    for pattern in ("/lib/x86_64-linux-gnu/lib[cm].so.6", "/usr/lib/*/libstdc++.so.6", "/bin/ls",
                    "/usr/lib/*/libcrypto.so.*", sys.executable, "/lib64/ld-linux-*",
                    "/lib/ld-musl-*")
    for path in glob.glob(pattern)
})  # fmt: skip


def objdump(path: str) -> tuple[set[str], str, set[tuple[str, str]], set[str]]:
    """Needed libraries, own name, needed versions that are not weak, defined versions."""
    text = subprocess.run(
        ["objdump", "-p", path], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    needed = set(re.findall(r"^  NEEDED +(\S+)", text, re.MULTILINE))
    name = "".join(re.findall(r"^  SONAME +(\S+)", text, re.MULTILINE))
    definitions, _, references = text.partition("Version References:")
    _, _, definitions = definitions.partition("Version definitions:")
    defined = set(re.findall(r"^\d+ 0x\w+ 0x\w+ (\S+)", definitions, re.MULTILINE))
    wanted = set()
    library = ""
    for line in references.splitlines():
        if found := re.match(r"  required from (\S+):", line):
            library = found[1]
        elif (found := re.match(r"    0x\w+ 0x(\w+) \d+ (\S+)", line)) and not int(
            found[1], 16
        ) & 2:
            wanted.add((library, found[2]))
    return needed, name, wanted, defined


@pytest.mark.skipif(shutil.which("objdump") is None, reason="no objdump (binutils) to compare with")
@pytest.mark.parametrize("path", HOST)
def test_what_objdump_says(path: str) -> None:
    found = linkage(Path(path))
    wanted = {(need.library, version) for need in found.needs for version in need.versions}
    assert (set(found.needed), found.name, wanted, set(found.provides)) == objdump(path)


@needs_gcc
def test_run_paths_and_weak_versions(tmp_path: Path) -> None:
    text = "int main(void) { return 0; }\n"
    old = compile_c(tmp_path / "old", text, "-Wl,--disable-new-dtags,-rpath,/a:$ORIGIN/b")
    new = compile_c(tmp_path / "new", text, "-Wl,--enable-new-dtags,-rpath,/c::/d")
    assert (linkage(old).rpath, linkage(old).runpath) == (("/a", "$ORIGIN/b"), ())
    assert (linkage(new).rpath, linkage(new).runpath) == ((), ("/c", "/d"))
    weak = bytearray(old.read_bytes())
    (need,) = linkage(old).needs
    assert need.library == "libc.so.6"
    elf = ElfFile(bytes(weak))
    (place,) = elf.values(0x6FFFFFFE)
    # The first version's flags, 4 bytes into its record, which follows the library's of 16.
    struct.pack_into("<H", weak, place + 16 + 4, 2)
    (less,) = needed_versions(ElfFile(bytes(weak)))
    assert less.versions == need.versions[1:]


def test_the_least_library() -> None:
    assert read_linkage(least()) == Linkage("amd64")
    tags = struct.pack("<qQqQ", 1, 1, 14, 3)
    assert read_linkage(least(tags, strings=b"\0a\0b\0")) == Linkage("amd64", "", "b", ("a",))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "does not begin"),
        (b"\x7fELF\2\1", "header is damaged"),
        (b"\x7fELF\3\1\1" + bytes(60), "header is damaged"),
        (least()[:80], "cut short"),
        (least(struct.pack("<qQ", 1, 99)), "outside of its string table"),
        (least(struct.pack("<qQ", 1, 0), strings=b"endless"), "has no end"),
        (least(struct.pack("<qQqQ", 0x6FFFFFFE, 1 << 40, 0x6FFFFFFF, 1)), "out of the file"),
        (least(struct.pack("<qQqQ", 0x6FFFFFFC, 0, 0x6FFFFFFD, 1 << 60)), "more symbol versions"),
    ],
)
def test_what_is_wrong_is_said(content: bytes, why: str) -> None:
    with pytest.raises(NotElf, match=why):
        linkage_of(ElfFile(content))
    assert read_linkage(content) is None


def test_records_that_lead_one_byte_on_end_soon() -> None:
    """A hostile chain may be as long as its count says, and each of its records as well."""
    tags = struct.pack("<qQqQ", 0x6FFFFFFE, 0x200, 0x6FFFFFFF, 60_000)
    body = (b"\1\0\xff\xff" + b"\1\0\0\0" * 3) * 30_000
    began = time.monotonic()
    assert read_linkage(least(tags).ljust(0x200, b"\0") + body) is None
    assert time.monotonic() - began < 5


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    script = tmp_path_factory.mktemp("hostile") / "a.map"
    script.write_text("A_1 { global: a; local: *; }; A_2 { global: b; } A_1;\n")
    text = '#include <stdio.h>\nint a(void) { return puts(""); }\nint b(void) { return 0; }\n'
    flags = ("-shared", "-s", f"-Wl,--version-script={script}", "-Wl,-rpath,/a")
    return compile_c(script.with_name("liba.so"), text, *flags).read_bytes()


@needs_gcc
@settings(max_examples=300, deadline=2000)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 0xFFF), st.binary(min_size=1, max_size=8)), max_size=6
    ),
    cut=st.integers(0, 20_000),
)
def test_any_damage_has_an_end(library: bytes, changes: list[tuple[int, bytes]], cut: int) -> None:
    damaged = bytearray(library)
    for place, data in changes:
        damaged[place : place + len(data)] = data
    found = read_linkage(bytes(damaged[:cut] if cut < 10_000 else damaged))
    assert found is None or found.architecture


@settings(max_examples=200, deadline=2000)
@given(st.binary(max_size=400))
def test_any_bytes_behind_a_good_beginning(data: bytes) -> None:
    found = read_linkage(b"\x7fELF\2\1\1" + data)
    assert found is None or found.architecture
