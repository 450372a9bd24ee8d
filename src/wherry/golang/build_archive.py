# SPDX-License-Identifier: Apache-2.0
"""Compiled packages as Go's build cache holds them, and whether they may serve another build.

An archive (`cmd/internal/archive`) begins with `__.PKGDEF`, what importers need, and `_go_.o`, what
the compiler made; further members come from assembler sources or from C. Go's key of a package with
C code knows neither the system's headers nor its C library, and that of a package with assembler
sources not all headers; so C never serves, and assembler only where its sources cannot change: in
Go's own tree, or in a module of the module cache. Objects name their sources in a table
(`cmd/internal/goobj`, the same in Go 1.20 to 1.27). With `-trimpath` they call a module's sources
`PATH@VERSION/…` even where a directory replaces it or has a copy of it: these serve only where
whoever asks knows that there is no such directory.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import BinaryIO, Final

_MAGIC: Final = b"!<arch>\n"
_HEADER: Final = 60
_NAME: Final = 16
_OBJECT: Final = b"go object "
_COMPILED: Final = (b"__.PKGDEF", b"_go_.o")
_LARGEST: Final = 64 << 20
# After a line with "!": this, a fingerprint, flags, then the places of the tables.
_TABLES: Final = b"\0go120ld"
_FILES: Final = 28
_STRING: Final = "<2I"
# What `-trimpath` leaves out.
_OWN: Final = b"$GOROOT/src/"
_IN_MODULE: Final = re.compile(rb"[^@]+@v[0-9][^@/]*/[^@]+")


class SettledSources:
    """Tells assembler sources that cannot change: Go's own, and those of modules.

    `goroots` are where Go's own trees can be read: they are looked at when the first object is
    asked for. `modules` is the module cache's path as a build knows it; empty where somebody may
    have changed what is in it. `trimmed` gives the modules, as `PATH@VERSION`, that with
    `-trimpath` can have come from there alone; asked for at most once, and then only.
    """

    def __init__(
        self,
        goroots: Iterable[str] = (),
        *,
        modules: str = "",
        trimmed: Callable[[], frozenset[bytes]] = frozenset,
    ) -> None:
        self._goroots = tuple(goroots)
        self._trimmed_of = trimmed
        self._modules = os.fsencode(f"{modules}/") if modules else b""

    def hold(self, source: bytes) -> bool:
        """Whether a source, as an object names it, is one of these."""
        if self._modules and source.startswith(self._modules):
            return _IN_MODULE.fullmatch(source, len(self._modules)) is not None
        if self._modules and _IN_MODULE.fullmatch(source):
            path, _, rest = source.partition(b"@")
            return path + b"@" + rest.partition(b"/")[0] in self._trimmed
        return source.removeprefix(_OWN) in self._own

    @cached_property
    def _trimmed(self) -> frozenset[bytes]:
        return self._trimmed_of()

    @cached_property
    def _own(self) -> frozenset[bytes]:
        tops = [os.fsencode(f"{place}/src") for place in self._goroots]
        return frozenset(
            os.path.relpath(os.path.join(directory, name), top)
            for top in tops
            for directory, _, names in os.walk(top)
            for name in names
            if name.endswith(b".s")
        )


def may_serve(file: BinaryIO, sources: SettledSources) -> bool:
    """Whether a file is an archive of a package that is wholly known by Go's key for it.

    Raises `OSError`.
    """
    if file.read(len(_MAGIC)) != _MAGIC:
        return False
    end = os.fstat(file.fileno()).st_size
    seen, others, settled = 0, 0, False
    while header := file.read(_HEADER):
        if len(header) != _HEADER or header[58:] != b"`\n":
            return False
        name, size = header[:_NAME].rstrip(), header[48:58].strip()
        if not size.isdigit():
            return False
        here = file.tell()
        if here + int(size) > end:
            return False
        if name in _COMPILED:
            seen += 1
        else:
            named = _sources(file.read(int(size)) if int(size) <= _LARGEST else b"")
            if named is None or not all(map(sources.hold, named)):
                return False
            others += 1
            # All sources of a package are in one directory; an object may be empty and name none.
            settled = settled or bool(named)
        file.seek(here + int(size) + int(size) % 2)
    return seen > 0 and (settled or not others)


def _sources(member: bytes) -> list[bytes] | None:
    """The files that an object was made of; None for what is no object of Go's."""
    head, end, tables = member.partition(b"\n!\n")
    if not head.startswith(_OBJECT) or not end or not tables.startswith(_TABLES):
        return None
    try:
        first, last = struct.unpack_from(_STRING, tables, _FILES)
        strings = struct.iter_unpack(_STRING, tables[first:last])
        found = [(length, tables[at : at + length]) for length, at in strings]
    except struct.error:
        return None
    is_whole = all(length == len(name) for length, name in found)
    return [name for _, name in found] if is_whole else None
