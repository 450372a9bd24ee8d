# SPDX-License-Identifier: Apache-2.0
"""Reads the entries of a hostile tar with the standard library's `tarfile`, made strict.

`tarfile` forgives much: a damaged header in the middle, or a missing end, counts as the end. A
layer that is cut short must not pass for a whole one, and no header may ask for much memory.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from tarfile import HeaderError
from typing import IO, BinaryIO, Final, Self

from wherry.errors import UsageError

_BUFFER: Final = 1 << 18
# Long names and attributes: what a header may hold before it counts as an attack on memory.
_LONGEST_HEADER: Final = 1 << 20
_EXTENSIONS: Final = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
# What tarfile raises for hostile headers beside its own errors.
_CONFUSED: Final = (ValueError, OverflowError, RecursionError)
# The zero block that ends an archive.
_EndOfArchive: Final[type[HeaderError]] = tarfile.EOFHeaderError  # type: ignore[attr-defined] # stubs lack it


def read_members(stream: BinaryIO) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Entries in order, each with its content where it is a file; nothing is kept in memory.

    The content must be read before the next entry is asked for. Raises `UsageError` or
    `tarfile.TarError` for damage, and whatever `stream` raises.
    """
    with _open(stream) as archive:
        while (member := _next(archive)) is not None:
            if member.issparse():
                # layer.md advises against them, and a small one could fill the disk.
                raise UsageError(f"/{member.name} is a sparse file, which layers do not hold")
            yield member, archive.extractfile(member) if member.isreg() else None


class _StrictInfo(tarfile.TarInfo):
    """Headers read without mercy: tarfile takes a damaged or missing one for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.size < 0 or (info.type in _EXTENSIONS and info.size > _LONGEST_HEADER):
            raise UsageError(f"a header of the archive says that {info.size} bytes follow it")
        return info

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except _EndOfArchive:
            raise
        except HeaderError as error:
            raise UsageError(f"the archive is damaged or cut short: {error}") from error


def _open(stream: BinaryIO) -> tarfile.TarFile:
    """Open the archive, which reads its first header."""
    try:
        return tarfile.open(
            fileobj=stream,
            mode="r|",
            bufsize=_BUFFER,
            tarinfo=_StrictInfo,
            encoding="utf-8",
            errors="surrogateescape",
        )
    except _CONFUSED as error:
        raise UsageError(f"the archive is damaged: {error}") from error


def _next(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    try:
        member = archive.next()
    except _CONFUSED as error:
        raise UsageError(f"the archive is damaged: {error}") from error
    archive.members.clear()  # type: ignore[attr-defined] # stubs lack it
    return member
