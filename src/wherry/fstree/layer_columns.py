# SPDX-License-Identifier: Apache-2.0
"""A layer's index as bytes, to be kept: a base image has thousands of entries, all of which are
read again by the next build, so that form is made for reading.

Version 1: the magic line, then zlib data of four parts, each after its length (64 bits): a JSON
header with what is rare; texts (paths, link targets), each ended by NUL; columns of numbers (64
bits each); the files' digests and the contents that are kept. All numbers are little-endian. The
layer's blob is not part of it: one layer may lie in several, compressed in different ways.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby, repeat
from typing import Any, Final, Literal, TypeVar

from wherry.errors import InternalError
from wherry.fstree.layer_changes import LayerIndex
from wherry.fstree.tree import (
    Directory,
    Entry,
    File,
    HardLink,
    InLayer,
    Inline,
    Special,
    Symlink,
    Xattrs,
)
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor

_Tuple = TypeVar("_Tuple", Digest, InLayer)

_MAGIC: Final = b"wherry layer index 1\n"
_LEVEL: Final = 1
_NO_TIME: Final = -(2**63)
_SHA256: Final = 32

_FILE, _KEPT, _DIRECTORY, _SYMLINK, _HARD_LINK = "f", "k", "d", "l", "h"
_SPECIAL: Final[dict[str, Literal["char", "block", "fifo"]]] = {
    "c": "char",
    "b": "block",
    "p": "fifo",
}
_SPECIAL_LETTER: Final = {kind: letter for letter, kind in _SPECIAL.items()}


def encode_index(index: LayerIndex) -> bytes:
    """The index as bytes; contents are `InLayer` (sha256) or `Inline`, else `InternalError`."""
    columns = _Columns()
    for number, entry in enumerate(index.entries):
        columns.add(number, entry)
    header = {
        "kinds": "".join(columns.kinds),
        "xattrs": columns.xattrs,
        "whiteouts": index.whiteouts,
        "opaque": index.opaque,
        "order": index.order,
    }
    numbers = columns.numbers
    parts = (
        json.dumps(header).encode("ascii"),
        _raw("".join(f"{text}\0" for text in columns.texts)),
        struct.pack(f"<{len(numbers)}q", *numbers),
        b"".join(columns.data),
    )
    body = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    return _MAGIC + zlib.compress(body, _LEVEL)


def decode_index(data: bytes, blob: Descriptor) -> LayerIndex | None:
    """The index of a layer, whose contents lie in `blob`; None for another version or damage."""
    if not data.startswith(_MAGIC):
        return None
    try:
        return _decoded(zlib.decompress(memoryview(data)[len(_MAGIC) :]), blob)
    except (ValueError, KeyError, IndexError, TypeError, StopIteration, struct.error, zlib.error):
        return None


class _Columns:
    """What the entries of an index say, by kind of value."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.texts: list[str] = []
        self.numbers: list[int] = []
        self.data: list[bytes] = []
        self.xattrs: dict[int, list[list[str]]] = {}

    def add(self, number: int, entry: Entry) -> None:
        """Take the next entry."""
        time = _NO_TIME if entry.mtime is None else entry.mtime
        self.texts.append(entry.path)
        self.numbers.append(time)
        if not isinstance(entry, HardLink | Special) and entry.xattrs:
            self.xattrs[number] = [[name, value.hex()] for name, value in entry.xattrs]
        if not isinstance(entry, HardLink):
            self.numbers += (entry.uid, entry.gid)
        match entry:
            case File():
                self._add_file(entry)
            case Directory():
                self._put(_DIRECTORY, entry.mode)
            case Symlink():
                self._put(_SYMLINK)
                self.texts.append(entry.target)
            case HardLink():
                self._put(_HARD_LINK)
                self.texts.append(entry.target)
            case Special():
                self._put(_SPECIAL_LETTER[entry.kind], entry.mode, entry.major, entry.minor)

    def _put(self, kind: str, *numbers: int) -> None:
        self.kinds.append(kind)
        self.numbers += numbers

    def _add_file(self, entry: File) -> None:
        content = entry.content
        if isinstance(content, InLayer) and content.digest.algorithm == "sha256":
            self._put(_FILE, entry.mode, content.offset, content.size)
            self.data.append(bytes.fromhex(content.digest.hex))
        elif isinstance(content, Inline):
            self._put(_KEPT, entry.mode, content.size)
            self.data.append(content.data)
        else:
            raise InternalError(f"/{entry.path} does not lie in the layer that is indexed")


def _decoded(body: bytes, blob: Descriptor) -> LayerIndex:
    header, texts, numbers, data = _parts(body)
    facts: dict[str, Any] = json.loads(header)
    reader = _Reader(
        texts.decode("utf-8", "surrogateescape").split("\0"),
        struct.unpack(f"<{len(numbers) // 8}q", numbers),
        data,
        blob,
    )
    for kind, run in groupby(facts["kinds"]):
        reader.read(kind, len(tuple(run)))
    for number, pairs in facts["xattrs"].items():
        xattrs = tuple((name, bytes.fromhex(value)) for name, value in pairs)
        reader.set_attributes(int(number), xattrs)
    reader.check_end()
    whiteouts, opaque = tuple(facts["whiteouts"]), tuple(facts["opaque"])
    order = tuple(facts["order"])
    if order and len(order) != len(whiteouts) + len(opaque):
        raise ValueError("the order is not of these removals")
    return LayerIndex(tuple(reader.entries), whiteouts, opaque, order)


class _Reader:
    """Makes entries of the columns again, run by run of one kind."""

    def __init__(
        self, texts: list[str], numbers: tuple[int, ...], data: bytes, blob: Descriptor
    ) -> None:
        self._texts = texts
        self._numbers = numbers
        self._data = data
        self._blob = blob
        self._text = self._number = self._byte = 0
        self.entries: list[Entry] = []

    def read(self, kind: str, count: int) -> None:
        """The next `count` entries, all of `kind`."""
        if kind == _FILE:
            self._read_files(count)
        else:
            self.entries.extend(self._one(kind) for _ in range(count))

    def _read_files(self, count: int) -> None:
        # By far the most entries: no line of Python is run for each.
        texts = self._take_texts(count)
        numbers = self._take_numbers(6 * count)
        times, uids, gids, modes, offsets, sizes = (numbers[at::6] for at in range(6))
        digits = self._take_data(_SHA256 * count).hex()
        starts = range(0, len(digits), 2 * _SHA256)
        hexes = [digits[at : at + 2 * _SHA256] for at in starts]
        digests = _tuples(Digest, zip(repeat("sha256"), hexes, strict=False))
        blob, media_type = repeat(self._blob.digest), repeat(self._blob.media_type)
        rows = zip(blob, media_type, offsets, sizes, digests, strict=False)
        contents = _tuples(InLayer, rows)
        if _NO_TIME in times:
            seen: Iterable[int | None] = [None if at == _NO_TIME else at for at in times]
        else:
            seen = times
        self.entries.extend(map(File, texts, contents, modes, uids, gids, repeat(()), seen))

    def set_attributes(self, number: int, xattrs: Xattrs) -> None:
        """Give an entry its attributes."""
        entry = self.entries[number]
        if isinstance(entry, HardLink | Special):
            raise TypeError("an entry of this kind has no attributes")
        self.entries[number] = replace(entry, xattrs=xattrs)

    def check_end(self) -> None:
        """Raise `ValueError` unless all columns were read, and no more than they hold."""
        # The last text is what follows the last NUL.
        lengths = (len(self._texts) - 1, len(self._numbers), len(self._data))
        if (self._text, self._number, self._byte) != lengths:
            raise ValueError("the columns are not of these entries")

    def _one(self, kind: str) -> Entry:
        path = self._take_text()
        (written,) = self._take_numbers(1)
        time = None if written == _NO_TIME else written
        if kind == _HARD_LINK:
            return HardLink(path, self._take_text(), time)
        uid, gid = self._take_numbers(2)
        if kind == _SYMLINK:
            return Symlink(path, self._take_text(), uid, gid, (), time)
        (mode,) = self._take_numbers(1)
        if kind == _DIRECTORY:
            return Directory(path, mode, uid, gid, (), time)
        if kind == _KEPT:
            (size,) = self._take_numbers(1)
            return File(path, Inline(self._take_data(size)), mode, uid, gid, (), time)
        major, minor = self._take_numbers(2)
        return Special(path, _SPECIAL[kind], major, minor, mode, uid, gid, time)

    def _take_text(self) -> str:
        self._text += 1
        return self._texts[self._text - 1]

    def _take_texts(self, count: int) -> list[str]:
        self._text += count
        return self._texts[self._text - count : self._text]

    def _take_numbers(self, count: int) -> tuple[int, ...]:
        self._number += count
        return self._numbers[self._number - count : self._number]

    def _take_data(self, count: int) -> bytes:
        self._byte += count
        return self._data[self._byte - count : self._byte]


def _tuples(kind: type[_Tuple], rows: Iterable[tuple[object, ...]]) -> Iterator[_Tuple]:
    """Named tuples of `rows`, as their `_make` makes them, but without a call for each."""
    return map(tuple.__new__, repeat(kind), rows)


def _parts(body: bytes) -> Iterator[bytes]:
    at = 0
    for _ in range(4):
        size = int.from_bytes(body[at : at + 8], "little")
        yield body[at + 8 : at + 8 + size]
        at += 8 + size


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
