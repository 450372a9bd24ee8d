# SPDX-License-Identifier: Apache-2.0
"""Compiled packages as Go's build cache holds them, and whether they may serve another build.

An archive (`cmd/internal/archive`) begins with `__.PKGDEF`, what importers need, and `_go_.o`, what
the compiler made; further members come from assembler sources or from C. Go's key of a package with
C code knows neither the system's headers nor its C library, and that of a package with assembler
sources not all headers; so C never serves, and assembler only where its sources cannot change: in
Go's own tree, or in a module of one version.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import BinaryIO

_MAGIC = b"!<arch>\n"
_HEADER = 60
_NAME = 16
_OBJECT = b"go object "
_COMPILED = (b"__.PKGDEF", b"_go_.o")
_VERSION = re.compile(rb"@v[0-9]")
_LARGEST = 64 << 20


class SettledSources:
    """Tells assembler sources that cannot change: those of modules of one version, and Go's own.

    `goroots` are the places of Go's tree: the path that a build knows it by, and where it is to be
    read. It is looked at when the first object is asked for that is of no module. Without `modules`
    those of modules do not count: somebody may have changed them.
    """

    def __init__(self, goroots: Iterable[tuple[bytes, str]] = (), *, modules: bool = True) -> None:
        self._goroots = tuple(goroots)
        self._modules = modules
        # `-trimpath` has a word for it.
        self._roots = (b"$GOROOT", *(root for root, _ in self._goroots))
        self._files: dict[bytes, list[bytes]] | None = None

    def hold(self, member: bytes, data: bytes) -> bool:
        """Whether an object of an archive, by its name, was assembled from such a source."""
        if _VERSION.search(data):
            return self._modules
        # The archive cuts names off.
        stem = member.removesuffix(b".o")[: _NAME - 2].rstrip(b".")
        return any(self._names(path, data) for path in self._own().get(stem, ()))

    def _names(self, path: bytes, data: bytes) -> bool:
        """Whether an object names a source of Go's: with the tree's place, or without any."""
        at = data.find(path)
        while at >= 0:
            if data[at - 1 : at] != b"/":
                return True
            before = data[:at]
            if any(before.endswith(root + b"/src/") for root in self._roots):
                return True
            at = data.find(path, at + 1)
        return False

    def _own(self) -> dict[bytes, list[bytes]]:
        if self._files is None:
            self._files = {}
            for _, place in self._goroots:
                top = os.fsencode(f"{place}/src")
                for directory, _, names in os.walk(top):
                    for name in names:
                        if name.endswith(b".s"):
                            path = os.path.relpath(os.path.join(directory, name), top)
                            self._files.setdefault(name[:-2][: _NAME - 2], []).append(path)
        return self._files


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
            data = file.read(int(size)) if int(size) <= _LARGEST else b""
            if not data.startswith(_OBJECT):
                return False
            others += 1
            # All sources of a package are in one directory; an object may be empty and name none.
            settled = settled or sources.hold(name, data)
        file.seek(here + int(size) + int(size) % 2)
    return seen > 0 and (settled or not others)
