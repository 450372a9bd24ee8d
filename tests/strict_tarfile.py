# SPDX-License-Identifier: Apache-2.0
"""Reads the entries of a hostile tar with the standard library's `tarfile`, made strict.

`tarfile` forgives much: a damaged header in the middle, or a missing end, counts as the end. A
layer that is cut short must not pass for a whole one, and no header may ask for much memory.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from tarfile import HeaderError
from typing import IO, BinaryIO, Final, Self, cast

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


class Content:
    """What follows a file's header, read once from its beginning."""

    def __init__(self, archive: _Forward, size: int) -> None:
        self._archive = archive
        self._left = size

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes (-1: all), fewer only at the file's end; none behind it.

        Raises `tarfile.ReadError` where the archive ends first.
        """
        wanted = self._left if size < 0 else min(size, self._left)
        piece = self._archive.read(wanted)
        if len(piece) != wanted:
            raise tarfile.ReadError("unexpected end of data")
        self._left -= wanted
        return piece


def read_members(stream: BinaryIO) -> Iterator[tuple[tarfile.TarInfo, Content | None]]:
    """Entries in order, each with its content where it is a file; nothing is kept in memory.

    The content must be read before the next entry is asked for. Raises `UsageError` or
    `tarfile.TarError` for damage, and whatever `stream` raises.
    """
    forward = _Forward(stream)
    with _open(forward) as archive:
        while (member := _next(archive)) is not None:
            if member.issparse():
                # layer.md advises against them, and a small one could fill the disk.
                raise UsageError(f"/{member.name} is a sparse file, which layers do not hold")
            yield member, Content(forward, member.size) if member.isreg() else None


class _Forward:
    """A stream with a position that only grows, read in large blocks.

    In place of tarfile's own, which moves its whole buffer for every header.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._position = 0
        self._block = b""
        self._used = 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        if position < self._position:
            raise tarfile.StreamError("an archive is read forwards only")
        while (left := position - self._position) and self.read(min(left, _BUFFER)):
            pass

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end."""
        end = self._used + size
        piece = self._block[self._used : end]
        self._used = min(end, len(self._block))
        if len(piece) < size:
            piece = self._refilled(piece, size)
        self._position += len(piece)
        return piece

    def _refilled(self, piece: bytes, size: int) -> bytes:
        pieces, missing = [piece], size - len(piece)
        while missing and (block := self._stream.read(_BUFFER)):
            pieces.append(block[:missing])
            self._block, self._used = block, len(pieces[-1])
            missing -= self._used
        return b"".join(pieces)


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


def _open(stream: _Forward) -> tarfile.TarFile:
    """Open the archive, which reads its first header."""
    try:
        return tarfile.TarFile(
            fileobj=cast("IO[bytes]", stream),  # it asks for no more than is there
            mode="r",
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
