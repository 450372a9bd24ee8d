# SPDX-License-Identifier: Apache-2.0
"""Symbol versions: which ones a program needs of which library, and which ones a library has.

glibc's loader refuses to start a program where one is missing ("version `GLIBC_2.38' not found");
musl's looks at none. Source: Linux Standard Base 5.0, core, "Symbol Versioning".
"""

from __future__ import annotations

from typing import Final, NamedTuple

from wherry.golang.elf_file import ElfFile, NotElf

_DT_VERDEF, _DT_VERDEFNUM = 0x6FFFFFFC, 0x6FFFFFFD
_DT_VERNEED, _DT_VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
_WEAK: Final = 2
# A libc has about 50 versions, a Qt library some hundreds.
_MOST: Final = 65_536


class VersionNeed(NamedTuple):
    """The versions that must be there in the library `library`; weak needs are left out."""

    library: str
    versions: tuple[str, ...]


def needed_versions(elf: ElfFile) -> tuple[VersionNeed, ...]:
    """What the file needs, in its own order; raises `NotElf` for tables without an end."""
    found: list[VersionNeed] = []
    left = _MOST
    for place, values in _records(elf, (_DT_VERNEED, _DT_VERNEEDNUM), "HHIII", 4):
        count, file, first = values[1:4]
        left -= count
        if left < 0:
            raise NotElf("it needs more symbol versions than any program does")
        names: list[str] = []
        at = place + first
        for _number in range(count):
            _, flags, _, name, after = elf.unpack("IHHII", at)
            if not flags & _WEAK:
                names.append(elf.string(name))
            if not after:
                break
            at += after
        found.append(VersionNeed(elf.string(file), tuple(names)))
    return tuple(found)


def provided_versions(elf: ElfFile) -> tuple[str, ...]:
    """The versions that the file defines, its own name among them; none for one without."""
    names: list[str] = []
    for place, values in _records(elf, (_DT_VERDEF, _DT_VERDEFNUM), "HHHHIII", 6):
        count, first = values[3], values[5]
        if count:
            # The first name is the version's, the others are those of its parents.
            names.append(elf.string(elf.unpack("II", place + first)[0]))
    return tuple(names)


def _records(
    elf: ElfFile, tags: tuple[int, int], form: str, following: int
) -> list[tuple[int, tuple[int, ...]]]:
    """A chain of records with their addresses; the value at `following` leads to the next."""
    places, counts = elf.values(tags[0]), elf.values(tags[1])
    if not places or not counts:
        return []
    if counts[0] > _MOST:
        raise NotElf("it has more symbol versions than any library has")
    found = []
    place = places[0]
    for _number in range(counts[0]):
        values = elf.unpack(form, place)
        found.append((place, values))
        if not values[following]:
            break
        place += values[following]
    return found
