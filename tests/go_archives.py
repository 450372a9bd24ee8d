# SPDX-License-Identifier: Apache-2.0
"""Compiled packages in miniature: archives as Go's build cache holds them, with no code inside."""

from __future__ import annotations

import struct

OBJECT = b"go object linux amd64 go1.26.8\n!\n"
_FILES = 28
_HEADER = 84


def archive(*members: tuple[str, bytes]) -> bytes:
    """A package as the compiler leaves it, with further members."""
    data = b"!<arch>\n"
    for name, content in (("__.PKGDEF", OBJECT), ("_go_.o", OBJECT), *members):
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{644:<8}{len(content):<10}`\n"
        data += header.encode() + content + b"\0" * (len(content) % 2)
    return data


def assembled(*sources: bytes) -> bytes:
    """An object as the assembler leaves it, made of these sources."""
    table, place = b"", _HEADER
    for source in sources:
        table += struct.pack("<2I", len(source), place)
        place += len(source)
    head = bytearray(_HEADER)
    head[:8] = b"\0go120ld"
    struct.pack_into("<2I", head, _FILES, place, place + len(table))
    return OBJECT + bytes(head) + b"".join(sources) + table
