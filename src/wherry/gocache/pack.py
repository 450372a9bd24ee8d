# SPDX-License-Identifier: Apache-2.0
"""Packs: many files as a few zstd frames, written and read by several threads.

A pack is nothing but its frames, one after the other; what they hold stands in the pack's table
(`wherry.gocache.table`). A frame holds contents of some 8 MiB together, or one that is larger, so
that frames can be compressed and decompressed side by side and little is in memory at once. Every
content is compared with its digest, when written and when read.
"""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, NamedTuple, Protocol

from wherry.gocache.table import CONTENT_LIMIT, BadPack, Content, Frame, Row, Table
from wherry.process.cancel import CancelToken

_FRAME = 8 << 20
# zstd -3: 400 MB/s of content on one core, and better than gzip -6.
_LEVEL = 3
_CHUNK = 4 << 20
# What one compressed frame may have: zstd makes nothing much larger than it was.
_SLACK = 1 << 20
_WINDOW = 1 << 27

Read = Callable[[Row], BinaryIO]
"""Opens the bytes of a row; raises `OSError` where they are gone."""


class Written(NamedTuple):
    """What was written: the table, and the rows whose bytes were gone or others by then."""

    table: Table
    lost: tuple[Row, ...]


class Place(Protocol):
    """Takes one content of a pack; called by several threads."""

    def __call__(self, content: Content, chunks: Iterator[bytes]) -> None:
        """Take the bytes, all of them: the last chunk comes only if the whole has the digest.

        `BadPack` passes through from `chunks`; then nothing may be kept.
        """


def write_pack(
    kind: str,
    rows: Iterable[Row],
    read: Read,
    out: Callable[[bytes], object],
    cancel: CancelToken,
    *,
    workers: int = 2,
) -> Written:
    """Write the contents of `rows` to `out`, each once, in the order of the rows.

    Raises what `out` raises, and `Cancelled`. A row whose bytes cannot be read, or are not what it
    says, is left out.
    """
    every = tuple(rows)
    frames: list[Frame] = []
    kept: set[str] = set()
    with ThreadPoolExecutor(workers, thread_name_prefix="pack") as pool:
        pending: deque[Future[tuple[bytes, tuple[Content, ...]]]] = deque()

        def take() -> None:
            data, contents = pending.popleft().result()
            if contents:
                out(data)
                frames.append(Frame(len(data), contents))
                kept.update(content.digest for content in contents)

        try:
            for group in _groups(every):
                cancel.check()
                pending.append(pool.submit(_packed, group, read))
                if len(pending) > workers:
                    take()
            while pending:
                take()
        finally:
            for future in pending:
                future.cancel()
    table = Table(kind, tuple(row for row in every if row.content in kept), tuple(frames))
    return Written(table, tuple(row for row in every if row.content not in kept))


def unpack(
    table: Table,
    stream: BinaryIO,
    wanted: Container[str],
    place: Place,
    cancel: CancelToken,
    *,
    workers: int = 2,
) -> None:
    """Read a pack from `stream` and give the contents in `wanted` (digests) to `place`.

    Raises `BadPack` for a pack that does not hold what its table says, what reading `stream` and
    `place` raise, and `Cancelled`. What was placed before stays, and is right.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="unpack") as pool:
        pending: deque[Future[None]] = deque()
        try:
            for frame in table.frames:
                cancel.check()
                if frame.size > frame.content + _SLACK:
                    raise BadPack("a frame of a pack is larger than what is in it")
                data = _exactly(stream, frame.size)
                if any(content.digest in wanted for content in frame.contents):
                    pending.append(pool.submit(_unpacked, frame, data, wanted, place))
                if len(pending) > workers:
                    pending.popleft().result()
            while pending:
                pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _groups(rows: tuple[Row, ...]) -> Iterator[list[Row]]:
    """The rows of each frame: one for each content."""
    seen: set[str] = set()
    group: list[Row] = []
    size = 0
    for row in rows:
        if row.content in seen or row.size > CONTENT_LIMIT:
            continue
        seen.add(row.content)
        if group and size + row.size > _FRAME:
            yield group
            group, size = [], 0
        group.append(row)
        size += row.size
    if group:
        yield group


def _packed(group: list[Row], read: Read) -> tuple[bytes, tuple[Content, ...]]:
    """One frame, and the contents that it holds in the end."""
    import zstandard  # noqa: PLC0415 - a compiled library

    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    out = io.BytesIO()
    contents: list[Content] = []
    if len(group) == 1 and group[0].size > _FRAME:
        # Compressed as it is read; what turns out to be other bytes is thrown away whole.
        with compressor.stream_writer(out, closefd=False) as writer:
            good = _copy(group[0], read, writer.write)
        return (out.getvalue(), (Content(group[0].content, group[0].size),)) if good else (b"", ())
    for row in group:
        piece = io.BytesIO()
        if _copy(row, read, piece.write):
            out.write(piece.getbuffer())
            contents.append(Content(row.content, row.size))
    return compressor.compress(out.getbuffer()) if contents else b"", tuple(contents)


def _copy(row: Row, read: Read, write: Callable[[bytes], object]) -> bool:
    """Copy a row's bytes; False where they are gone or not those that it names."""
    hasher = hashlib.sha256()
    left = row.size
    try:
        with read(row) as file:
            while data := file.read(min(_CHUNK, left + 1)):
                left -= len(data)
                if left < 0:
                    return False
                hasher.update(data)
                write(data)
    except OSError:
        return False
    return left == 0 and hasher.hexdigest() == row.content


def _unpacked(frame: Frame, data: bytes, wanted: Container[str], place: Place) -> None:
    import zstandard  # noqa: PLC0415 - a compiled library

    try:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        with decompressor.stream_reader(data, read_across_frames=False) as reader:
            for content in frame.contents:
                chunks = _chunks(reader, content)
                if content.digest in wanted:
                    place(content, chunks)
                # What was not taken to the end would be taken for the next one's.
                for _ in chunks:
                    pass
    except zstandard.ZstdError as error:
        raise BadPack("a frame of a pack cannot be decompressed", why=str(error)) from error
    except MemoryError as error:
        raise BadPack("a frame of a pack asks for too much memory") from error


def _chunks(reader: BinaryIO, content: Content) -> Iterator[bytes]:
    """The bytes of the next content; the last ones only once the whole is found right."""
    hasher = hashlib.sha256()
    left = content.size
    last = b""
    while left:
        data = _exactly(reader, min(left, _CHUNK))
        left -= len(data)
        hasher.update(data)
        if last:
            yield last
        last = data
    if hasher.hexdigest() != content.digest:
        raise BadPack("a pack holds other bytes than it says", why=f"sha256 {content.digest[:12]}")
    yield last


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) == size:
        return data
    pieces = [data]
    got = len(data)
    while data and got < size:
        data = stream.read(size - got)
        pieces.append(data)
        got += len(data)
    if got != size:
        raise BadPack("a pack is shorter than its table says")
    return b"".join(pieces)
