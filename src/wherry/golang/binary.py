# SPDX-License-Identifier: Apache-2.0
"""What a built program needs to run: facts read from its ELF file."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, NamedTuple

from wherry.errors import BuildError
from wherry.golang.buildinfo import ALIGNMENT, MAGIC, BuildInfo, decode_build_info
from wherry.golang.elf_file import ElfFile, NotElf, Segment
from wherry.golang.linkage import Linkage, linkage_of

if TYPE_CHECKING:
    from collections.abc import Iterator


class BinaryFacts(NamedTuple):
    """Facts of one program.

    `architecture` is Go's name, or ELF's number where Go has none. `is_static` says that it runs
    without a loader and libraries: a static PIE counts, too. `build_info` is None for a program
    that Go did not link. `linkage` is all that the loader is asked for.
    """

    architecture: str
    is_static: bool
    interpreter: str
    needed: tuple[str, ...]
    size: int
    build_info: BuildInfo | None
    linkage: Linkage


def read_binary(path: str) -> BinaryFacts:
    """Read the facts of the program at `path`; raises `BuildError` if it is no ELF file."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            raise _no_program(path, "it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                elf = ElfFile(content)
                linkage = linkage_of(elf)
            except NotElf as error:
                raise _no_program(path, str(error)) from error
            info = _build_info(content, elf)
    return BinaryFacts(
        linkage.architecture,
        linkage.is_static,
        linkage.interpreter,
        linkage.needed,
        size,
        info,
        linkage,
    )


def _no_program(path: str, why: str) -> BuildError:
    return BuildError(
        f"{os.path.basename(path)} is no ELF program",
        why=why,
        hint="build a program for linux: GOOS=linux, no -buildmode that makes archives",
    )


def _build_info(content: mmap.mmap, elf: ElfFile) -> BuildInfo | None:
    """Search the writable data, where Go's linker puts it, also without a section table."""
    for part in elf.segments:
        # Other writable data may hold the magic, too (cmd/go's own code does): the first at an
        # aligned address is the linker's.
        for place in _finds(content, part) if part.writable else ():
            address = part.address + place - part.offset
            if address % ALIGNMENT == 0 and (info := decode_build_info(elf.read, address)):
                return info
    return None


def _finds(content: mmap.mmap, part: Segment) -> Iterator[int]:
    place = content.find(MAGIC, part.offset, part.offset + part.size)
    while place >= 0:
        yield place
        place = content.find(MAGIC, place + 1, part.offset + part.size)
