# SPDX-License-Identifier: Apache-2.0
"""An ELF file as the loader sees it: header, segments, dynamic table, strings.

Written for files that nobody vouches for: every offset is checked, every count has an end, and
whatever makes no sense raises `NotElf`. The section table is not looked at, as the loader does not
look at it either. Source: System V gABI, chapters 4 and 5.
"""

from __future__ import annotations

import mmap
import struct
from typing import Final, NamedTuple

Content = bytes | mmap.mmap

_MOST_SEGMENTS: Final = 4096
_MOST_TAGS: Final = 8192
_LONGEST_STRING: Final = 4096
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_WRITABLE: Final = 2
_DT_NULL, _DT_STRTAB, _DT_STRSZ = 0, 5, 10

# (e_machine, bits, little endian) in Go's words.
_ARCHITECTURES: Final = {
    (3, 32, True): "386",
    (62, 64, True): "amd64",
    (40, 32, True): "arm",
    (183, 64, True): "arm64",
    (258, 64, True): "loong64",
    (8, 32, False): "mips",
    (8, 32, True): "mipsle",
    (8, 64, False): "mips64",
    (8, 64, True): "mips64le",
    (21, 64, False): "ppc64",
    (21, 64, True): "ppc64le",
    (243, 64, True): "riscv64",
    (22, 64, False): "s390x",
}


class NotElf(Exception):
    """A file is no ELF file, or is damaged; the text says what is wrong with it."""


class Segment(NamedTuple):
    """A loaded part of the file: address in memory, place in the file, size there."""

    address: int
    offset: int
    size: int
    writable: bool


class ElfFile:
    """The parts of one ELF file. Raises `NotElf`, here and in all that it is asked.

    `architecture` is Go's name, or `machine N (BITS-bit)` where Go has none. `interpreter` is the
    loader's path, empty where the file names none. `tags` are the entries of the dynamic table.
    """

    def __init__(self, content: Content) -> None:
        self._content = content
        head = content[:64]
        if head[:4] != b"\x7fELF":
            raise NotElf("it does not begin as ELF files do")
        if len(head) < 52 or head[4] not in (1, 2) or head[5] not in (1, 2):
            raise NotElf("its header is damaged")
        self.bits = 32 * head[4]
        self.little_endian = head[5] == 1
        self._order = "<" if self.little_endian else ">"
        self.type, machine = self._unpack("HH", 16)
        key = (machine, self.bits, self.little_endian)
        self.architecture = _ARCHITECTURES.get(key, f"machine {machine} ({self.bits}-bit)")
        self.segments: tuple[Segment, ...] = ()
        self.interpreter = ""
        self.tags: tuple[tuple[int, int], ...] = ()
        self._read_program_headers()
        values: dict[int, int] = dict(reversed(self.tags))
        self._strings = values.get(_DT_STRTAB, 0), values.get(_DT_STRSZ, 0)

    def read(self, address: int, size: int) -> bytes:
        """Up to `size` bytes that lie at `address` in memory; none where nothing is loaded."""
        for part in self.segments:
            if part.address <= address < part.address + part.size:
                start = part.offset + address - part.address
                return self._content[start : min(start + size, part.offset + part.size)]
        return b""

    def unpack(self, form: str, address: int) -> tuple[int, ...]:
        """Numbers at `address` in memory, in the file's byte order; `form` as in `struct`."""
        size = struct.calcsize(self._order + form)
        data = self.read(address, size)
        if len(data) < size:
            raise NotElf("its tables lead out of the file")
        return struct.unpack(self._order + form, data)

    def string(self, offset: int) -> str:
        """A string of the dynamic string table."""
        start, size = self._strings
        if not 0 <= offset < size:
            raise NotElf("a name lies outside of its string table")
        data = self.read(start + offset, min(size - offset, _LONGEST_STRING))
        text, end, _ = data.partition(b"\0")
        if not end:
            raise NotElf("a name has no end")
        return text.decode("utf-8", "surrogateescape")

    def values(self, tag: int) -> tuple[int, ...]:
        """The values of all entries of the dynamic table that have `tag`."""
        return tuple(value for found, value in self.tags if found == tag)

    def _unpack(self, form: str, offset: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self._order + form, self._content, offset)
        except (struct.error, OverflowError) as error:
            raise NotElf("it is cut short") from error

    def _read_program_headers(self) -> None:
        wide = self.bits == 64
        (start,) = self._unpack("Q" if wide else "I", 32 if wide else 28)
        size, count = self._unpack("HH", 54 if wide else 42)
        if count > _MOST_SEGMENTS or (count and size < (56 if wide else 32)):
            raise NotElf("its program headers are damaged")
        loaded: list[Segment] = []
        dynamic: tuple[int, int] | None = None
        for number in range(count):
            place = start + number * size
            if wide:
                kind, flags, offset, address, _, length = self._unpack("IIQQQQ", place)
            else:
                kind, offset, address, _, length, _, flags = self._unpack("7I", place)
            if kind == _PT_LOAD:
                loaded.append(Segment(address, offset, length, bool(flags & _WRITABLE)))
            elif kind == _PT_INTERP:
                self.interpreter = self._interpreter(offset, length)
            elif kind == _PT_DYNAMIC and dynamic is None:
                dynamic = offset, length
        self.segments = tuple(loaded)
        if dynamic is not None:
            self.tags = self._dynamic(*dynamic)

    def _interpreter(self, offset: int, length: int) -> str:
        data = self._content[offset : offset + min(length, _LONGEST_STRING)]
        return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")

    def _dynamic(self, offset: int, length: int) -> tuple[tuple[int, int], ...]:
        form = "qQ" if self.bits == 64 else "iI"
        size = struct.calcsize(self._order + form)
        found: list[tuple[int, int]] = []
        for number in range(min(length // size, _MOST_TAGS)):
            tag, value = self._unpack(form, offset + number * size)
            if tag == _DT_NULL:
                break
            found.append((tag, value))
        return tuple(found)
