# SPDX-License-Identifier: Apache-2.0
"""Reads the entries of a hostile tar: ustar, PAX (POSIX.1-2017, pax) and GNU long names.

Not with the standard library's `tarfile`: it takes a damaged header for the archive's end, and the
headers alone of a large base image cost it most of a second. A tar that is cut short, a header
with a wrong checksum, records that do not fit, sparse files and oversized headers are errors. What
a header says is not judged here, see `wherry.fstree.tar_entries`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from wherry.errors import UsageError
from wherry.fstree.limits import Readable
from wherry.fstree.tree import Xattrs

# Kinds of members: their type flags.
REGULAR, HARD_LINK, SYMLINK = b"0", b"1", b"2"
CHAR, BLOCK_DEVICE, DIRECTORY, FIFO = b"3", b"4", b"5", b"6"

BLOCK: Final = 512
_PIECE: Final = 1 << 18
# As much as archive.py allows: long names and attributes, all held in memory.
_LONGEST_HEADER: Final = 1 << 20
_LAST_TIME: Final = 253402300799  # the end of the year 9999
# name, mode, uid, gid, size, mtime, checksum, type, link, magic and user names, device, prefix
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s72x8s8s155s12x")
_ZEROS: Final = bytes(BLOCK)

_OLD_REGULAR, _CONTIGUOUS, _SPARSE = b"\0", b"7", b"S"
_LONG_NAME, _LONG_LINK = b"L", b"K"
_EXTENDED, _SOLARIS, _GLOBAL = b"x", b"X", b"g"
_EXTENSIONS = frozenset((_LONG_NAME, _LONG_LINK, _EXTENDED, _SOLARIS, _GLOBAL))
_HAVE_NO_CONTENT = frozenset((HARD_LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO))
# What would be said of every entry at once.
_NOT_GLOBAL = frozenset(("path", "linkpath", "size"))
_XATTR: Final = "SCHILY.xattr."


class Member(NamedTuple):
    """One entry as its headers have it.

    `name` and `link` are not checked; `kind` is the type flag, `REGULAR` for all of a file's.
    `mtime` is in whole seconds and never out of the years 1970 to 9999, `nanoseconds` is what a
    PAX time adds to it. `offset` is where the content begins in the tar.
    """

    name: str
    kind: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    link: str
    device: tuple[int, int]
    xattrs: Xattrs
    offset: int
    nanoseconds: int = 0


class Members:
    """The entries of the uncompressed tar in `stream`, to be gone through once.

    Raises `UsageError` for damage, and whatever `stream` raises. Memory holds one entry's headers.
    """

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._position = 0
        # Bytes of the current content and its padding that were not read yet.
        self._left = self._padding = 0
        self._globals: dict[str, bytes] = {}

    def __iter__(self) -> Iterator[Member]:
        while (member := self._next()) is not None:
            yield member

    def pieces(self) -> Iterator[bytes]:
        """The current entry's content; what is not read before the next entry is passed over."""
        while self._left:
            data = self._take(min(self._left, _PIECE))
            self._left -= len(data)
            yield data

    def _next(self) -> Member | None:
        for _ in self.pieces():
            pass
        self._take(self._padding)
        self._padding = 0
        own: dict[bytes, dict[str, bytes]] = {}
        block = self._take(BLOCK)
        while block != _ZEROS:
            fields = _checked(block)
            kind = fields[7]
            if kind not in _EXTENSIONS:
                return self._member(fields, self._records(own) if own or self._globals else {})
            for field in (*fields[1:6], *fields[9:11]):
                _number(field)  # of no use here, but damage all the same
            self._read_extension(kind, _size(fields[4]), own)
            block = self._take(BLOCK)
        if own:
            raise _damaged("no entry follows an extended header")
        return None

    def _records(self, own: dict[bytes, dict[str, bytes]]) -> dict[str, bytes]:
        # Where two kinds of headers name the entry the first one counts, as tarfile has it.
        records = dict(self._globals)
        for found in reversed(own.values()):
            records.update(found)
        return records

    def _read_extension(self, kind: bytes, size: int, own: dict[bytes, dict[str, bytes]]) -> None:
        if size > _LONGEST_HEADER:
            raise UsageError(f"a header of the archive says that {size} bytes follow it")
        data = self._take(size)
        self._take(-size % BLOCK)
        if kind in own or (kind == _GLOBAL and own):
            raise _damaged("the extended headers of an entry are in disorder")
        if kind == _LONG_NAME:
            own[kind] = {"path": _text(data)}
        elif kind == _LONG_LINK:
            own[kind] = {"linkpath": _text(data)}
        elif kind == _GLOBAL:
            self._set_globals(_records(data))
        else:
            own[kind] = _records(data)

    def _set_globals(self, records: dict[str, bytes]) -> None:
        self._globals.update(records)
        if not _NOT_GLOBAL.isdisjoint(records):
            raise _damaged("a global header gives all entries one name or size")
        if sum(len(key) + len(value) for key, value in self._globals.items()) > _LONGEST_HEADER:
            raise _damaged("its global headers are too large")

    def _member(self, fields: tuple[bytes, ...], records: dict[str, bytes]) -> Member:
        name, mode, uid, gid, size, mtime, _, kind, link, major, minor, prefix = fields
        name, link, prefix = _text(name), _text(link), _text(prefix)
        path = _decoded(prefix + b"/" + name if prefix else name)
        facts = Member(
            path, kind, _number(mode), _number(uid), _number(gid), _number(mtime), _size(size),
            _decoded(link), (_number(major), _number(minor)), (), self._position,
        )  # fmt: skip
        if records:
            facts = _patched(facts, records)
        if kind in (_OLD_REGULAR, _CONTIGUOUS):
            is_directory = kind == _OLD_REGULAR and facts.name.endswith("/")
            facts = facts._replace(kind=DIRECTORY if is_directory else REGULAR)
        if kind == _SPARSE:
            raise _sparse(facts.name)
        if facts.kind in _HAVE_NO_CONTENT:
            facts = facts._replace(size=0)
        if not 0 <= facts.mtime <= _LAST_TIME:
            facts = facts._replace(mtime=min(max(facts.mtime, 0), _LAST_TIME), nanoseconds=0)
        self._left, self._padding = facts.size, -facts.size % BLOCK
        return facts

    def _take(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        data = self._stream.read(size) if size else b""
        while len(data) < size:
            piece = self._stream.read(size - len(data))
            if not piece:
                raise UsageError("the archive is damaged or cut short: it has no end")
            data += piece
        self._position += size
        return data


def is_header(block: bytes) -> bool:
    """Whether an archive that begins with these 512 bytes has an entry."""
    if len(block) != BLOCK or block == _ZEROS:
        return False
    try:
        _checked(block)
    except UsageError:
        return False
    return True


def _checked(block: bytes) -> tuple[bytes, ...]:
    """The fields of a header whose checksum is right."""
    fields: tuple[bytes, ...] = _HEADER.unpack(block)
    spaces = 8 * ord(" ") - sum(fields[6])
    expected = _number(fields[6])
    # Old tools took the bytes for signed ones.
    if expected != sum(block) + spaces:
        signed = sum(struct.unpack("148b8x356b", block)) + 8 * ord(" ")
        if expected != signed:
            raise _damaged("a header has a wrong checksum")
    return fields


def _number(field: bytes) -> int:
    """A numeric field: octal digits, or GNU's base-256 for what these cannot say."""
    try:
        return int(field.rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        pass
    if field[0] in (0x80, 0xFF):
        rest = int.from_bytes(field[1:], "big")
        return rest if field[0] == 0x80 else rest - 256 ** (len(field) - 1)
    try:
        return int(_text(field).strip() or b"0", 8)
    except ValueError as error:
        raise _damaged("a number in a header is none") from error


def _size(field: bytes) -> int:
    size = _number(field)
    if size < 0:
        raise UsageError(f"a header of the archive says that {size} bytes follow it")
    return size


def _patched(facts: Member, records: dict[str, bytes]) -> Member:
    """The entry with what its PAX records and GNU long names say."""
    changes: dict[str, object] = {}
    xattrs: dict[str, bytes] = {}
    for key, value in records.items():
        if key == "path":
            changes["name"] = _decoded(value)
        elif key == "linkpath":
            changes["link"] = _decoded(value)
        elif key in ("uid", "gid", "size"):
            if not value.isdigit() or len(value) > 19:
                raise _damaged(f"it says that the {key} of an entry is {_decoded(value)!a}")
            changes[key] = int(value)
        elif key == "mtime":
            changes["mtime"], changes["nanoseconds"] = _time(value)
        elif key.startswith(_XATTR):
            xattrs[key.removeprefix(_XATTR)] = value
        elif key.startswith("GNU.sparse."):
            raise _sparse(facts.name)
    return facts._replace(**changes, xattrs=tuple(sorted(xattrs.items())))  # type: ignore[arg-type] # each has its field's type


def _time(value: bytes) -> tuple[int, int]:
    """Whole seconds and nanoseconds of a PAX time; 0 for what is no time, as tarfile has it."""
    try:
        seconds = float(value)
    except ValueError:
        return 0, 0
    if not (math.isfinite(seconds) and 0 <= seconds <= _LAST_TIME):
        return int(min(max(seconds, 0), _LAST_TIME)) if math.isfinite(seconds) else 0, 0
    whole, _, fraction = value.partition(b".")
    # A float does not hold the nanoseconds of our days.
    exact = whole.isdigit() and fraction.isdigit()
    return (int(whole), int(fraction[:9].ljust(9, b"0"))) if exact else (int(seconds), 0)


def _records(data: bytes) -> dict[str, bytes]:
    """PAX records: `LENGTH KEY=VALUE\\n`, one after the other, where LENGTH counts itself."""
    found: dict[str, bytes] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 8)
        length = data[at : max(space, at)]
        end = at + int(length) if length.isdigit() else 0
        if not at < space < end <= len(data) or data[end - 1] != ord("\n"):
            raise _damaged("a record of an extended header does not fit")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not key or not equals or key.startswith(b" "):
            raise _damaged("a record of an extended header has no name")
        found[_decoded(key)] = value
        at = end
    return found


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _sparse(name: str) -> UsageError:
    # layer.md advises against them, and a small one could fill the disk.
    return UsageError(f"/{name} is a sparse file, which layers do not hold")


def _damaged(why: str) -> UsageError:
    return UsageError(f"the archive is damaged: {why}")
