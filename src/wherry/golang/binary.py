# SPDX-License-Identifier: Apache-2.0
"""What a built program needs to run: facts read from its ELF file."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from wherry.errors import BuildError
from wherry.golang.buildinfo import ALIGNMENT, MAGIC, BuildInfo, decode_build_info

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elftools.elf.elffile import ELFFile

_LITTLE, _BIG = True, False
# (e_machine, bits, little endian) in Go's words.
_ARCHITECTURES = {
    ("EM_386", 32, _LITTLE): "386",
    ("EM_X86_64", 64, _LITTLE): "amd64",
    ("EM_ARM", 32, _LITTLE): "arm",
    ("EM_AARCH64", 64, _LITTLE): "arm64",
    ("EM_LOONGARCH", 64, _LITTLE): "loong64",
    ("EM_MIPS", 32, _BIG): "mips",
    ("EM_MIPS", 32, _LITTLE): "mipsle",
    ("EM_MIPS", 64, _BIG): "mips64",
    ("EM_MIPS", 64, _LITTLE): "mips64le",
    ("EM_PPC64", 64, _BIG): "ppc64",
    ("EM_PPC64", 64, _LITTLE): "ppc64le",
    ("EM_RISCV", 64, _LITTLE): "riscv64",
    ("EM_S390", 64, _BIG): "s390x",
}
_WRITABLE = 2


class BinaryFacts(NamedTuple):
    """Facts of one program.

    `architecture` is Go's name, or ELF's own where Go has none. `is_static` says that it runs
    without a loader and libraries: a static PIE counts, too. `build_info` is None for a program
    that Go did not link.
    """

    architecture: str
    is_static: bool
    interpreter: str
    needed: tuple[str, ...]
    size: int
    build_info: BuildInfo | None


class _Segment(NamedTuple):
    """A loaded part of the file: address in memory, place in the file, size there."""

    address: int
    offset: int
    size: int
    writable: bool


def preload() -> None:
    """Import what `read_binary` needs, for callers that have time now."""
    import elftools.elf.elffile  # noqa: F401, PLC0415 - see read_binary


def read_binary(path: str) -> BinaryFacts:
    """Read the facts of the program at `path`; raises `BuildError` if it is no ELF file."""
    # Lazy: the no-change path imports this room, and pyelftools would slow its start.
    from elftools.common.exceptions import ELFError  # noqa: PLC0415
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415

    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            elf = ELFFile(file)
            interpreter, needed = _loader_facts(elf)
            segments = _segments(elf)
            architecture = _architecture(elf)
        except (ELFError, UnicodeDecodeError) as error:
            raise BuildError(f"{os.path.basename(path)} is no ELF program", why=str(error),
                             hint="build a program for linux: GOOS=linux, no -buildmode that "
                                  "makes archives") from error  # fmt: skip
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            info = _build_info(content, segments)
    static = not interpreter and not needed
    return BinaryFacts(architecture, static, interpreter, needed, size, info)


def _architecture(elf: ELFFile) -> str:
    machine = str(elf.header["e_machine"])
    return _ARCHITECTURES.get((machine, elf.elfclass, elf.little_endian), machine)


def _loader_facts(elf: ELFFile) -> tuple[str, tuple[str, ...]]:
    from elftools.elf.dynamic import DynamicSegment  # noqa: PLC0415 - as in read_binary
    from elftools.elf.segments import InterpSegment  # noqa: PLC0415 - as in read_binary

    interpreter = ""
    needed: list[str] = []
    for segment in elf.iter_segments():
        if isinstance(segment, InterpSegment):
            interpreter = segment.get_interp_name()
        elif isinstance(segment, DynamicSegment):
            # pyelftools sets `needed` while it runs; its types do not know.
            needed += [str(getattr(tag, "needed", "")) for tag in segment.iter_tags("DT_NEEDED")]
    return interpreter, tuple(needed)


def _segments(elf: ELFFile) -> tuple[_Segment, ...]:
    def loaded(header: Any) -> _Segment:  # noqa: ANN401 - pyelftools has no types
        return _Segment(
            header.p_vaddr, header.p_offset, header.p_filesz, bool(header.p_flags & _WRITABLE)
        )

    return tuple(
        loaded(segment.header)
        for segment in elf.iter_segments()
        if segment.header.p_type == "PT_LOAD"
    )


def _build_info(content: mmap.mmap, segments: tuple[_Segment, ...]) -> BuildInfo | None:
    """Search the writable data, where Go's linker puts it, also without a section table."""

    def read(address: int, size: int) -> bytes:
        for part in segments:
            if part.address <= address < part.address + part.size:
                start = part.offset + address - part.address
                return content[start : min(start + size, part.offset + part.size)]
        return b""

    for part in segments:
        # Other writable data may hold the magic, too (cmd/go's own code does): the first at an
        # aligned address is the linker's.
        for place in _finds(content, part) if part.writable else ():
            address = part.address + place - part.offset
            if address % ALIGNMENT == 0 and (info := decode_build_info(read, address)):
                return info
    return None


def _finds(content: mmap.mmap, part: _Segment) -> Iterator[int]:
    place = content.find(MAGIC, part.offset, part.offset + part.size)
    while place >= 0:
        yield place
        place = content.find(MAGIC, place + 1, part.offset + part.size)
