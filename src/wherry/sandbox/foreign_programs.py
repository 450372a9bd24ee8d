# SPDX-License-Identifier: Apache-2.0
"""The least Linux program of each architecture: one that exits with 0, as the bytes of its file.

Its header is what binfmt_misc looks at, and starting it shows whether the machine runs its kind.
Static, one segment, an ELF file (System V ABI, chapter 4) with the few instructions that make the
system call `exit_group`, or on old 32-bit tables `exit`.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

_ADDRESS: Final = 0x400000
_SIZE_32: Final = (52, 32, 40)  # of the file's header, a program header, a section header
_SIZE_64: Final = (64, 56, 64)


class Architecture(NamedTuple):
    """How an architecture's ELF files look: width, order of bytes, machine, flags and code."""

    bits: int
    order: str
    machine: int
    code: str
    flags: int = 0


# The code: put 0 where the first argument goes and the call's number where it goes; call.
PROGRAMS: Final = {
    "386": Architecture(32, "<", 3, "31db 31c0 40 cd80"),
    "amd64": Architecture(64, "<", 62, "31ff 6a3c 58 0f05"),
    "arm": Architecture(32, "<", 40, "0000a0e3 0170a0e3 000000ef", 0x05000000),
    "arm64": Architecture(64, "<", 183, "000080d2 a80b80d2 010000d4"),
    "loong64": Architecture(64, "<", 258, "04008003 0b748103 00002b00", 0x43),
    "mips": Architecture(32, ">", 8, "24040000 24020fa1 0000000c", 0x70001007),
    "mipsle": Architecture(32, "<", 8, "00000424 a10f0224 0c000000", 0x70001007),
    "mips64": Architecture(64, ">", 8, "24040000 240213c2 0000000c", 0x80000007),
    "mips64le": Architecture(64, "<", 8, "00000424 c2130224 0c000000", 0x80000007),
    "ppc64": Architecture(64, ">", 21, "38600000 38000001 44000002", 1),
    "ppc64le": Architecture(64, "<", 21, "00006038 01000038 02000044", 2),
    "riscv64": Architecture(64, "<", 243, "13050000 9308d005 73000000"),
    "s390x": Architecture(64, ">", 22, "a7290000 a7190001 0a01"),
}


def least_program(architecture: str) -> bytes:
    """The file's bytes; raises `KeyError` for an architecture that Go has no Linux port for."""
    return _elf(PROGRAMS[architecture])


def _elf(kind: Architecture) -> bytes:
    wide = kind.bits == 64
    header, program, section = _SIZE_64 if wide else _SIZE_32
    code = bytes.fromhex(kind.code)
    entry = _ADDRESS + header + program
    if kind.machine == 21 and kind.flags == 1:
        # The first ABI of 64-bit POWER enters through a descriptor: code, table, environment.
        code = struct.pack(">QQQ", entry + 24, 0, 0) + code
    word = "Q" if wide else "I"
    size = header + program + len(code)
    ident = struct.pack("4sBBBB8x", b"\x7fELF", 2 if wide else 1, 1 if kind.order == "<" else 2,
                        1, 0)  # fmt: skip
    head = struct.pack(f"{kind.order}HHI{word * 3}IHHHHHH", 2, kind.machine, 1, entry, header, 0,
                       kind.flags, header, program, 1, section, 0, 0)  # fmt: skip
    addresses = (0, _ADDRESS, _ADDRESS, size, size)
    # Loadable, readable and executable; the flags stand elsewhere in the wide form.
    fields = (1, 5, *addresses, 0x10000) if wide else (1, *addresses, 5, 0x10000)
    form = f"{kind.order}II{'Q' * 6}" if wide else f"{kind.order}{'I' * 8}"
    return ident + head + struct.pack(form, *fields) + code
