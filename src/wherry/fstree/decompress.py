# SPDX-License-Identifier: Apache-2.0
"""A layer's blob as the tar inside it: plain, gzip (RFC 1952) or zstd (RFC 8878).

The media type only has to be a layer's; which compression it is, the first bytes tell, as in
Docker's tools: old media types lie, and no path in a tar begins like compressed data. What makes
this safe is `VerifiedDiff`: the tar has the diff ID that the image's config names, or the layer is
refused. Data that stop early, or go on behind their end with anything but another member or frame
(zeros after gzip apart, as gzip(1) has it), are an error, never a shorter tar. Output is made as it
is asked for, so that memory does not grow with it.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn, Protocol

from wherry.errors import MachineError, UsageError
from wherry.oci.digest import Digest
from wherry.oci.media import compression_of
from wherry.process.cancel import CancelToken

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# What the zstd program takes without being asked for more; such a window is held in memory.
WINDOW_LIMIT: Final = 128 << 20
_PIECE: Final = 1 << 16
_TAR_PIECE: Final = 1 << 18
_GZIP: Final = b"\x1f\x8b\x08"
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS  # zlib: with the header and checksum of gzip
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_SKIPPABLE: Final = b"\x2a\x4d\x18"  # the first byte is 0x50 to 0x5f
_RLE_BLOCK: Final = 1


def decompressed(stream: BinaryIO, media_type: str) -> BinaryIO:
    """The tar in the blob `stream`, which stays the caller's to close.

    Reading raises `UsageError` for damage, whatever `stream` raises, and `MachineError` where the
    zstd library is missing. Raises `UsageError` for a media type that is no layer's.
    """
    compression_of(media_type)
    source = _Source(stream)
    raw: io.RawIOBase
    if source.head.startswith(_GZIP):
        raw = _Gunzipped(source)
    elif source.head == _ZSTD or _is_skippable(source.head):
        raw = _Unzstd(source)
    else:
        raw = _Plain(source)
    return io.BufferedReader(raw, _TAR_PIECE)


class VerifiedDiff(io.RawIOBase):
    """An uncompressed layer, hashed while it is read; its end is refused if the diff ID is wrong.

    A tar's reader stops at the archive's own end: `finish` reads what is left. Reading raises
    `Cancelled` when `cancel` is, so that one huge file is no reason to wait.
    """

    def __init__(
        self, stream: BinaryIO, diff_id: Digest, cancel: CancelToken | None = None
    ) -> None:
        super().__init__()
        self._stream = stream
        self._diff_id = diff_id
        self._cancel = cancel
        self._hash = hashlib.new(diff_id.algorithm)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer`; raises `UsageError` instead of an end that is not the right one."""
        if self._cancel is not None:
            self._cancel.check()
        view = memoryview(buffer).cast("B")
        piece = self._stream.read(len(view))
        view[: len(piece)] = piece
        self._hash.update(piece)
        if not piece and len(view) and self._hash.hexdigest() != self._diff_id.hex:
            raise UsageError(
                f"its files are not those of the image: their diff ID is "
                f"{self._diff_id.algorithm}:{self._hash.hexdigest()}, "
                f"and the image's config names {self._diff_id}"
            )
        return len(piece)

    def finish(self) -> None:
        """Read to the end; raises `UsageError` where the diff ID is wrong."""
        while self.read(_TAR_PIECE):
            pass


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Source:
    """The blob from its start, though its first bytes were looked at."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.head = b""
        while len(self.head) < len(_ZSTD) and (piece := stream.read(len(_ZSTD) - len(self.head))):
            self.head += piece
        self._unread = self.head

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, a few of them at first; none at the end."""
        if self._unread:
            piece, self._unread = self._unread[:size], self._unread[size:]
            return piece
        return self._stream.read(size)


class _Plain(io.RawIOBase):
    def __init__(self, source: _Readable) -> None:
        super().__init__()
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        piece = self._source.read(len(view))
        view[: len(piece)] = piece
        return len(piece)


class _Gunzipped(io.RawIOBase):
    """One gzip member after the other; zlib checks the checksum and length of each."""

    def __init__(self, source: _Readable) -> None:
        super().__init__()
        self._source = source
        self._member = zlib.decompressobj(_GZIP_WINDOW)
        self._input = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        # To zlib, a limit of 0 is none.
        if not view:
            return 0
        while not self._member.eof or self._begin_member():
            piece = self._inflate(len(view))
            if piece:
                view[: len(piece)] = piece
                return len(piece)
        return 0

    def _inflate(self, limit: int) -> bytes:
        is_end = not self._input and not (read := self._source.read(_PIECE))
        self._input = self._input or (b"" if is_end else read)
        try:
            piece = self._member.decompress(self._input, limit)
        except zlib.error as error:
            raise UsageError(f"its gzip data are damaged: {error}") from error
        self._input = self._member.unconsumed_tail
        if is_end and not piece and not self._member.eof:
            _refuse_cut("gzip")
        return piece

    def _begin_member(self) -> bool:
        rest = self._member.unused_data.lstrip(b"\0")
        while not rest:
            piece = self._source.read(_PIECE)
            if not piece:
                return False
            rest = piece.lstrip(b"\0")
        self._member = zlib.decompressobj(_GZIP_WINDOW)
        self._input = rest
        return True


class _Unzstd(io.RawIOBase):
    """All zstd frames, with the library's checks of each, behind `_Frames`."""

    def __init__(self, source: _Readable) -> None:
        super().__init__()
        try:
            import zstandard  # noqa: PLC0415 - few layers are zstd, and it is a compiled library
        except ImportError as error:
            raise MachineError(
                "cannot unpack zstd data",
                why=f"the Python package zstandard cannot be imported: {error}",
                hint="install wherry together with its dependencies",
            ) from error
        self._error = zstandard.ZstdError
        self._reader = zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT).stream_reader(
            _Frames(source),  # type: ignore[arg-type] # only `read` is asked of it
            read_size=_PIECE,
            read_across_frames=True,
            closefd=False,
        )

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        try:
            return self._reader.readinto(buffer)
        except self._error as error:
            raise UsageError(f"its zstd data are damaged: {error}") from error


class _Frames:
    """Passes zstd frames on, looking at their structure only (RFC 8878, section 3.1).

    The library takes an end within a frame for the end of all; here it is an error. Skippable
    frames are left out; windows over the limit are refused.
    """

    def __init__(self, source: _Readable) -> None:
        self._source = source
        self._rest = memoryview(b"")
        self._passed = self._all()

    def read(self, _size: int = -1) -> bytes:
        """The next bytes, as many as come together; to the library, none means the end."""
        return next(self._passed, b"")

    def _all(self) -> Iterator[bytes]:
        while not self._is_end():
            magic = self._take(4)
            if _is_skippable(magic):
                for _ in self._pass(_number(self._take(4))):
                    pass
            elif magic == _ZSTD:
                yield magic
                yield from self._frame()
            else:
                raise UsageError("bytes that are no zstd frame follow its zstd data")

    def _frame(self) -> Iterator[bytes]:
        first = self._take(1)
        descriptor = first[0]
        is_single = bool(descriptor & 0x20)
        window = b"" if is_single else self._take(1)
        dictionary = self._take((0, 1, 2, 4)[descriptor & 3])
        size = self._take((1 if is_single else 0, 2, 4, 8)[descriptor >> 6])
        # A single segment is its own window. Two bytes of size count from 256 on: no matter here.
        _check_window(_number(size) if is_single else _window_size(window[0]))
        yield first + window + dictionary + size
        is_last = False
        while not is_last:
            header = self._take(3)
            yield header
            fields = _number(header)
            is_last = bool(fields & 1)
            yield from self._pass(1 if (fields >> 1) & 3 == _RLE_BLOCK else fields >> 3)
        yield from self._pass(4 if descriptor & 4 else 0)

    def _is_end(self) -> bool:
        if not self._rest:
            self._rest = memoryview(self._source.read(_PIECE))
        return not self._rest

    def _take(self, count: int) -> bytes:
        return b"".join(self._pass(count))

    def _pass(self, count: int) -> Iterator[bytes]:
        """The next `count` bytes in pieces, none of them empty."""
        while count:
            if self._is_end():
                _refuse_cut("zstd")
            piece, self._rest = self._rest[:count], self._rest[count:]
            count -= len(piece)
            yield bytes(piece)


def _is_skippable(magic: bytes) -> bool:
    return magic[1:] == _SKIPPABLE and magic[0] >> 4 == 5


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _window_size(descriptor: int) -> int:
    base = 1 << (10 + (descriptor >> 3))
    return base + base // 8 * (descriptor & 7)


def _check_window(size: int) -> None:
    if size > WINDOW_LIMIT:
        raise UsageError(
            f"its zstd data need {size >> 20} MiB of memory at once, "
            f"and wherry gives them {WINDOW_LIMIT >> 20}",
            hint="compress it again with a smaller window (zstd --long=27 or less)",
        )


def _refuse_cut(kind: str) -> NoReturn:
    raise UsageError(f"its {kind} data are cut short")
