# SPDX-License-Identifier: Apache-2.0
"""Bases made by hand on a disk, with this machine's own C libraries, and what really runs there."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from wherry.fstree.tree import Directory, Entry, File, Symlink, Unread
from wherry.golang.linkage import Linkage, read_linkage
from wherry.oci.digest import Digest

LOADER = "/lib64/ld-linux-x86-64.so.2"
MUSL_LOADER = "/lib/ld-musl-x86_64.so.1"
LIBC = "/lib/x86_64-linux-gnu/libc.so.6"

needs_gcc = pytest.mark.skipif(
    shutil.which("gcc") is None or not os.path.exists(LOADER) or not os.path.exists(LIBC),
    reason="no gcc, or not Debian on amd64: no programs and bases of its C library",
)
needs_musl = pytest.mark.skipif(
    shutil.which("musl-gcc") is None or not os.path.exists(MUSL_LOADER),
    reason="no musl-gcc (musl-tools): no programs for musl",
)


class DiskFiles:
    """`Files` of a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def entry(self, path: str) -> Entry | None:
        place = self._root / path
        try:
            mode = place.lstat().st_mode
        except OSError:
            return None
        if stat.S_ISLNK(mode):
            return Symlink(path, os.readlink(place))
        if stat.S_ISDIR(mode):
            return Directory(path)
        content = Unread(str(place), place.stat().st_size)
        return File(path, content, stat.S_IMODE(mode))

    def names(self, path: str) -> tuple[str, ...]:
        try:
            return tuple(sorted(os.listdir(self._root / path)))
        except OSError:
            return ()

    def digest(self, file: File) -> Digest:
        return file.content.digest


def read(files: Sequence[File]) -> tuple[bytes, ...]:
    contents = []
    for file in files:
        assert isinstance(file.content, Unread)
        contents.append(Path(file.content.path).read_bytes())
    return tuple(contents)


def put(root: Path, host: str, place: str = "") -> Path:
    """A copy of this machine's file `host`, at `place`."""
    target = root / (place or host).lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(host, target)
    return target


def glibc_base(root: Path) -> Path:
    put(root, LOADER)
    put(root, LIBC)
    return root


def musl_base(root: Path) -> Path:
    put(root, MUSL_LOADER)
    return root


def compile_c(output: Path, text: str, *flags: str, compiler: str = "gcc") -> Path:
    output.parent.mkdir(parents=True, exist_ok=True)
    source = output.with_name(f"{output.name}.c")
    source.write_text(text)
    command = [compiler, "-o", str(output), str(source), *flags]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    source.unlink()
    return output


def linkage(path: Path) -> Linkage:
    found = read_linkage(path.read_bytes())
    assert found is not None
    return found


# With /proc: glibc's loader asks it where a program lies.
_TRY = 'mount --rbind /proc "$1/proc" && exec chroot "$1" "$2"'


@cache
def why_not_here() -> str:
    """Why programs cannot be tried in a root of their own; empty where they can."""
    try:
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", _TRY, "sh", "/", "true"],
            capture_output=True, timeout=20, check=False,
        )  # fmt: skip
    except OSError as error:
        return str(error)
    return done.stderr.decode() if done.returncode else ""


def runs(root: Path, program: str, **env: str) -> bool:
    """Whether the program really starts in `root`: it has to exit with 0."""
    if why_not_here():
        pytest.skip(f"no user namespaces to try a base in: {why_not_here()}")
    (root / "proc").mkdir(exist_ok=True)
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", _TRY, "sh", str(root), program],
        env={"PATH": os.environ["PATH"], **env}, capture_output=True, timeout=20, check=False,
    )  # fmt: skip
    return done.returncode == 0


def least(tags: bytes = b"", *, strings: bytes = b"\0", rest: bytes = b"") -> bytes:
    """A 64-bit library: one loaded segment for the whole file, its dynamic table at 0x100."""
    at = 0x100 + len(tags) + 48
    table = tags + struct.pack("<qQqQqQ", 5, at, 10, len(strings), 0, 0)
    header = b"\x7fELF\2\1\1" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    size = at + len(strings) + len(rest)
    header += struct.pack("<IIQQQQQQ", 1, 6, 0, 0, 0, size, size, 4096)
    header += struct.pack("<IIQQQQQQ", 2, 6, 0x100, 0x100, 0x100, len(table), len(table), 8)
    return header.ljust(0x100, b"\0") + table + strings + rest
