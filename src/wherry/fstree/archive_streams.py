# SPDX-License-Identifier: Apache-2.0
"""An archive's bytes as the tar inside them: plain, gzip, bzip2, xz or zstd, as `ADD` takes them.

The first bytes tell which, never the name. gzip and zstd are read as layers are
(`wherry.fstree.decompress`); what is said there of damage, cuts and memory holds for all.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from wherry.errors import MachineError, UsageError
from wherry.fstree.decompress import WINDOW_LIMIT, decompressed
from wherry.fstree.limits import Readable
from wherry.oci.media import LAYER_TAR

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BZIP2: Final = b"BZh"
_XZ: Final = b"\xfd7zXZ\0"
_GZIP: Final = b"\x1f\x8b\x08"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_SKIPPABLE: Final = b"\x2a\x4d\x18"
_PIECE: Final = 1 << 16
_TAR_PIECE: Final = 1 << 18
# What xz needs beside its window.
_XZ_MEMORY: Final = WINDOW_LIMIT + (64 << 20)


class _Decoder(Protocol):
    """What the standard library's bz2 and lzma decompressors share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def uncompressed(stream: Readable) -> BinaryIO:
    """The tar in `stream`, which stays the caller's to close.

    Reading raises `UsageError` for damage, `MachineError` where the library for its compression is
    missing, and whatever `stream` raises.
    """
    source = _Peeked(stream)
    if (new := _decoders(source.head)) is not None:
        return io.BufferedReader(_Streams(source, new), _TAR_PIECE)
    # decompressed() asks for nothing but reads.
    return decompressed(source, LAYER_TAR)  # type: ignore[arg-type] # see above


def first_bytes(head: bytes, size: int) -> bytes | None:
    """The first `size` bytes, or all there are, of what the data that begin with `head` hold.

    None where `head` is too short to tell; nothing for damaged data.
    """
    try:
        if head.startswith(_GZIP):
            gzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
            found, is_end = gzip.decompress(head, size), gzip.eof
        elif (new := _decoders(head)) is not None:
            decoder = new()
            found, is_end = decoder.decompress(head, size), decoder.eof
        elif head.startswith(_ZSTD) or head[1:4] == _SKIPPABLE:
            found, is_end = _first_of_zstd(head, size), False
        else:
            found, is_end = head[:size], True
    except _errors(head):
        return b""
    return found if is_end or len(found) == size else None


class _Peeked:
    """A stream from its start, though its first bytes were looked at."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.head = b""
        while len(self.head) < len(_XZ) and (piece := stream.read(len(_XZ) - len(self.head))):
            self.head += piece
        self._unread = self.head

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""
        if self._unread:
            piece, self._unread = self._unread[:size], self._unread[size:]
            return piece
        return self._stream.read(size)


class _Streams(io.RawIOBase):
    """One compressed stream after the other, as bzip2 and xz allow; each checks itself."""

    def __init__(self, source: _Peeked, new: Callable[[], _Decoder]) -> None:
        super().__init__()
        self._source = source
        self._new = new
        self._errors = _errors(source.head)
        self._decoder = new()
        self._input = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        while view and (not self._decoder.eof or self._begin_next()):
            piece = self._decode(len(view))
            if piece:
                view[: len(piece)] = piece
                return len(piece)
        return 0

    def _decode(self, limit: int) -> bytes:
        data, self._input = self._input, b""
        if not data and self._decoder.needs_input:
            data = self._source.read(_PIECE)
            if not data:
                raise UsageError("its compressed data are cut short")
        try:
            return self._decoder.decompress(data, limit)
        except self._errors as error:
            raise UsageError(f"its compressed data are damaged: {error}") from error

    def _begin_next(self) -> bool:
        # xz pads streams with zeros.
        rest = self._decoder.unused_data.lstrip(b"\0")
        while not rest:
            piece = self._source.read(_PIECE)
            if not piece:
                return False
            rest = piece.lstrip(b"\0")
        self._decoder = self._new()
        self._input = rest
        return True


def _decoders(head: bytes) -> Callable[[], _Decoder] | None:
    """What makes decoders for bzip2 and xz; None for other data."""
    try:
        if head.startswith(_BZIP2):
            import bz2  # noqa: PLC0415 - few archives are bzip2, and Python may be built without

            return bz2.BZ2Decompressor
        if head.startswith(_XZ):
            import lzma  # noqa: PLC0415 - few archives are xz, and Python may be built without

            return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    except ImportError as error:
        raise _missing(error) from error
    return None


def _errors(head: bytes) -> tuple[type[Exception], ...]:
    """What the libraries raise for damage."""
    errors = (OSError, ValueError, EOFError, zlib.error)
    if not head.startswith(_XZ):
        return errors
    import lzma  # noqa: PLC0415 - see _decoders

    return (*errors, lzma.LZMAError)


def _first_of_zstd(head: bytes, size: int) -> bytes:
    try:
        import zstandard  # noqa: PLC0415 - few archives are zstd, and it is a compiled library
    except ImportError as error:
        raise _missing(error) from error
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT)
    try:
        with decompressor.stream_reader(head, read_across_frames=True) as reader:
            return reader.read(size)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def _missing(error: ImportError) -> MachineError:
    return MachineError(
        "cannot unpack the archive",
        why=f"this Python cannot read its compression: {error}",
        hint="use a Python with the modules bz2 and lzma, or compress it with gzip",
    )
