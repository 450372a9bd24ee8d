# SPDX-License-Identifier: Apache-2.0
"""What a program or a library asks of the loader, and what a library gives to others.

Source: ld.so(8), and System V gABI, chapter 5, "Dynamic Section".
"""

from __future__ import annotations

from typing import NamedTuple

from wherry.golang.elf_file import Content, ElfFile, NotElf
from wherry.golang.elf_versions import VersionNeed, needed_versions, provided_versions

_DT_NEEDED, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 1, 14, 15, 29


class Linkage(NamedTuple):
    """The loader's view of one file.

    `architecture` as in `ElfFile`, `interpreter` the loader's path (programs only), `name` what a
    library calls itself, `needed` the libraries it needs. `rpath` and `runpath` are directories to
    search, as written: with `$ORIGIN` and its kind. `needs` are symbol versions that libraries have
    to have, `provides` those that this one has.
    """

    architecture: str
    interpreter: str = ""
    name: str = ""
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    needs: tuple[VersionNeed, ...] = ()
    provides: tuple[str, ...] = ()

    @property
    def is_static(self) -> bool:
        """Whether a program of this kind runs without a loader and libraries."""
        return not self.interpreter and not self.needed


def linkage_of(elf: ElfFile) -> Linkage:
    """The linkage of an open file; raises `NotElf`."""
    return Linkage(
        elf.architecture,
        elf.interpreter,
        next(map(elf.string, elf.values(_DT_SONAME)), ""),
        tuple(map(elf.string, elf.values(_DT_NEEDED))),
        _directories(elf, _DT_RPATH),
        _directories(elf, _DT_RUNPATH),
        needed_versions(elf),
        provided_versions(elf),
    )


def read_linkage(content: Content) -> Linkage | None:
    """The linkage of a file's content; None for what is no ELF file, or a damaged one."""
    try:
        return linkage_of(ElfFile(content))
    except NotElf:
        return None


def _directories(elf: ElfFile, tag: int) -> tuple[str, ...]:
    texts = map(elf.string, elf.values(tag))
    return tuple(directory for text in texts for directory in text.split(":") if directory)
