# SPDX-License-Identifier: Apache-2.0
"""Whether the image's program can be executed at all, asked before it is started.

An OCI runtime answers such questions with one exit status for all; docker's 126 and 127 tell them
apart, and so does a missing loader or interpreter, the commonest fault of a program in a small
image.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from typing import Final

from wherry.sandbox.emulation import starts_like
from wherry.sandbox.request import CannotExecute, ProgramNotFound
from wherry.sandbox.rootpath import find_program, resolve

_ELF: Final = b"\x7fELF"
_PT_INTERP: Final = 3
# The machine field of a kernel's 64-bit programs, and of the 32-bit ones that it may run too.
_ALSO_RUN: Final = {62: (3,), 183: (40,)}
_BINFMT: Final = "/proc/sys/fs/binfmt_misc"
_HEADER: Final = 1 << 16


def check_program(root: str, name: str, search_path: str, cwd: str) -> str:
    """The program's real path below `root`; raises `ProgramNotFound` or `CannotExecute`."""
    try:
        path = find_program(root, name, search_path, cwd)
        with open(path, "rb") as file:
            head = file.read(_HEADER)
    except FileNotFoundError as error:
        where = "" if "/" in name else f" in $PATH ({search_path})"
        raise ProgramNotFound(
            f"cannot run {name!r}",
            why=f"the image has no such program{where}",
            hint="name it by its path in the image",
        ) from error
    except OSError as error:
        raise CannotExecute(
            f"cannot run {name!r}",
            why=f"{error.strerror or error}",
            hint="it must be a file with an execute bit",
        ) from error
    _check_format(root, name, head)
    return path


def why_not(number: int, name: str) -> CannotExecute | ProgramNotFound | None:
    """The error for an exec that failed with `number`; None where the number says nothing."""
    if number in (errno.ENOENT, errno.ENOTDIR):
        return ProgramNotFound(f"cannot run {name!r}", why=os.strerror(number))
    if number in (errno.EACCES, errno.ENOEXEC, errno.EPERM, errno.EISDIR):
        return CannotExecute(f"cannot run {name!r}", why=os.strerror(number))
    return None


def _check_format(root: str, name: str, head: bytes) -> None:
    if head.startswith(b"#!"):
        words = head[2:].split(b"\n", 1)[0].split()
        _check_loader(root, name, os.fsdecode(words[0]) if words else "", "interpreter")
        return
    if not head.startswith(_ELF) or len(head) < 64:
        if not _has_binfmt():
            raise _bad_format(name, "it is neither an ELF program nor a script")
        return
    machine, own = _machine(head), _own_machine()
    if own and machine != own and machine not in _ALSO_RUN.get(own, ()):
        # Asked of the kernel itself: the worker's own /proc does not show binfmt_misc.
        if not starts_like(head):
            raise _bad_format(name, f"it is made for another architecture (ELF machine {machine})")
        return
    _check_loader(root, name, _interpreter(head), "loader")


def _check_loader(root: str, name: str, loader: str, noun: str) -> None:
    if loader and not os.path.exists(resolve(root, loader)):
        raise ProgramNotFound(
            f"cannot run {name!r}",
            why=f"its {noun} {loader} is not in the image",
            hint="link it statically, or choose a base that has what it needs",
        )


def _bad_format(name: str, why: str) -> CannotExecute:
    return CannotExecute(
        f"cannot run {name!r}",
        why=f"exec format error: {why}",
        hint="build the image for this machine's platform",
    )


def _machine(head: bytes) -> int:
    return int(struct.unpack_from(_order(head) + "H", head, 18)[0])


def _own_machine() -> int:
    try:
        with open(sys.executable, "rb") as file:
            head = file.read(64)
    except OSError:
        return 0
    return _machine(head) if head.startswith(_ELF) and len(head) >= 20 else 0


def _order(head: bytes) -> str:
    return ">" if head[5] == 2 else "<"


def _interpreter(head: bytes) -> str:
    """The loader that a dynamically linked ELF program names; empty where there is none."""
    order = _order(head)
    wide = head[4] == 2
    offset = struct.unpack_from(order + ("Q" if wide else "I"), head, 32 if wide else 28)[0]
    size, count = struct.unpack_from(order + "HH", head, 54 if wide else 42)
    for number in range(count):
        start = offset + number * size
        # Entries of no size are a broken header; the attempt will tell.
        if size < (56 if wide else 32) or start + size > len(head):
            break
        if struct.unpack_from(order + "I", head, start)[0] == _PT_INTERP:
            layout, first, length = ("Q", 8, 32) if wide else ("I", 4, 16)
            where = struct.unpack_from(order + layout, head, start + first)[0]
            bytes_long = struct.unpack_from(order + layout, head, start + length)[0]
            return os.fsdecode(head[where : where + bytes_long].rstrip(b"\0"))
    return ""


def _has_binfmt() -> bool:
    """Whether the kernel was taught other formats (emulators, for example)."""
    try:
        return bool(set(os.listdir(_BINFMT)) - {"register", "status"})
    except OSError:
        return False
