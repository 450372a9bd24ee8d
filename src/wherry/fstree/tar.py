# SPDX-License-Identifier: Apache-2.0
"""Deterministic tar: one tree and one time (for what has none) give one sequence of bytes.

Entries stand in the tree's order as POSIX ustar headers (POSIX.1-2017, pax, "ustar Interchange
Format"), with a PAX extended header only where ustar cannot say it: long or non-ASCII names, huge
numbers, extended attributes. PAX values are raw bytes without `hdrcharset`, as Go's tar writes
them, so that a name which is not UTF-8 comes back as it was. The archive ends with exactly two zero
blocks; there is no padding to a record size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Final, NamedTuple

from wherry.errors import BuildError, InternalError
from wherry.fstree.tree import (
    Content,
    Directory,
    Entry,
    File,
    HardLink,
    InLayer,
    Inline,
    InSnapshot,
    OnDisk,
    Opened,
    Special,
    Symlink,
    Tree,
    Unread,
    Xattrs,
)
from wherry.oci.digest import Digest

BLOCK: Final = 512
READ: Final = 1 << 20

Write = Callable[[bytes], object]

_REGULAR, _HARD_LINK, _SYMLINK, _DIRECTORY, _PAX = b"0", b"1", b"2", b"5", b"x"
_SPECIAL: Final = {"char": b"3", "block": b"4", "fifo": b"6"}
_MAGIC = b"ustar\0" + b"00"
_NAME, _PREFIX = 100, 155
# What octal fields of eight and twelve bytes hold.
_SHORT, _LONG = 8**7, 8**11
_LEAVE_ALONE: Final = "build again, and leave the files alone while the build runs"
_NO_NAMES, _NO_DEVICE = bytes(64), b"0000000\0" * 2


class _Header(NamedTuple):
    name: bytes
    kind: bytes
    mode: int
    owner: tuple[int, int]
    size: int = 0
    link: bytes = b""
    xattrs: Xattrs = ()
    device: tuple[int, int] = (0, 0)


def write_tar(tree: Tree, out: Write, mtime: int, latest: int | None = None) -> None:
    """Write `tree` as tar to `out`.

    Times are seconds since 1970: `mtime` is that of entries which say none, and no entry gets a
    later one than `latest`. `out` takes pieces of any size up to 1 MiB. A file that cannot be read,
    or is not what the tree says, raises `BuildError`; then the archive is incomplete.
    """
    files: dict[str, File] = {}
    for entry in tree.entries:
        out(_encoded(_header(entry, files), _time(entry, files, mtime, latest)))
        if isinstance(entry, File):
            files[entry.path] = entry
            _write_content(entry.path, entry.content, out)
    out(bytes(2 * BLOCK))


def entry_header(entry: Entry, files: dict[str, File], mtime: int) -> bytes:
    """The blocks that stand before an entry's content in a tar.

    A `HardLink` has its target among `files`, by path. For who writes contents in an order of their
    own: each is followed by zeros up to the next multiple of 512 bytes, the last by 1024 more.
    """
    return _encoded(_header(entry, files), _time(entry, files, mtime, None))


def content_places(
    tree: Tree, mtime: int, latest: int | None = None
) -> Iterator[tuple[Entry, int, int]]:
    """Each entry with its time and the offset of its content in the tar that `write_tar` makes."""
    files: dict[str, File] = {}
    offset = 0
    for entry in tree.entries:
        time = _time(entry, files, mtime, latest)
        if isinstance(entry, File):
            files[entry.path] = entry
            offset += BLOCK if _is_plain(entry, time) else len(_encoded(_header(entry, {}), time))
            yield entry, time, offset
            offset += entry.content.size + -entry.content.size % BLOCK
        else:
            offset += len(_encoded(_header(entry, files), time))
            yield entry, time, offset


def _time(entry: Entry, files: dict[str, File], mtime: int, latest: int | None) -> int:
    time = entry.mtime
    if time is None and isinstance(entry, HardLink) and entry.target in files:
        time = files[entry.target].mtime
    if time is None:
        time = mtime
    return time if latest is None else min(time, latest)


def _is_plain(file: File, time: int) -> bool:
    """Whether it certainly needs no PAX header, as most files."""
    return (
        len(file.path) <= _NAME
        and file.path.isascii()
        and not file.xattrs
        and max(file.uid, file.gid) < _SHORT
        and file.content.size < _LONG
        and 0 <= time < _LONG
    )


def _header(entry: Entry, files: dict[str, File]) -> _Header:
    name = _raw(entry.path)
    match entry:
        case Directory():
            owner = (entry.uid, entry.gid)
            return _Header(name + b"/", _DIRECTORY, entry.mode, owner, xattrs=entry.xattrs)
        case File():
            owner, size = (entry.uid, entry.gid), entry.content.size
            return _Header(name, _REGULAR, entry.mode, owner, size, xattrs=entry.xattrs)
        case Symlink():
            owner, link = (entry.uid, entry.gid), _raw(entry.target)
            return _Header(name, _SYMLINK, 0o777, owner, link=link, xattrs=entry.xattrs)
        case HardLink():
            # Some readers give the header's mode and owner to the shared file: they are its own.
            file = files.get(entry.target)
            if file is None:
                raise InternalError(f"hard link /{entry.path} has no /{entry.target} before it")
            owner, link = (file.uid, file.gid), _raw(entry.target)
            return _Header(name, _HARD_LINK, file.mode, owner, link=link)
        case Special():
            owner, device = (entry.uid, entry.gid), (entry.major, entry.minor)
            return _Header(name, _SPECIAL[entry.kind], entry.mode, owner, device=device)


def _encoded(header: _Header, mtime: int) -> bytes:
    """The header's blocks: ustar, with a PAX header before it where one is needed."""
    records: dict[str, bytes] = {}
    name, prefix = _fit_name(header.name, records)
    fields = _Fields(records)
    block = _ustar_block(
        name,
        header.kind,
        (
            fields.octal("mode", header.mode, 8)
            + fields.octal("uid", header.owner[0], 8)
            + fields.octal("gid", header.owner[1], 8)
            + fields.octal("size", header.size, 12)
            + fields.octal("mtime", mtime, 12)
        ),
        _fit_link(header.link, records),
        (_NO_DEVICE if header.device == (0, 0) else b"%07o\0%07o\0" % header.device) + prefix,
    )
    for key, value in header.xattrs:
        records[f"SCHILY.xattr.{key}"] = value
    return _pax(records) + block if records else block


class _Fields(NamedTuple):
    """Octal fields; a number that does not fit goes to the PAX records."""

    records: dict[str, bytes]

    def octal(self, key: str, value: int, width: int) -> bytes:
        if 0 <= value < 8 ** (width - 1):
            return b"%0*o\0" % (width - 1, value)
        self.records[key] = b"%d" % value
        return b"0" * (width - 1) + b"\0"


def _ustar_block(name: bytes, kind: bytes, numbers: bytes, link: bytes, rest: bytes) -> bytes:
    head = name.ljust(_NAME, b"\0") + numbers
    tail = kind + link.ljust(_NAME, b"\0") + _MAGIC + _NO_NAMES + rest
    tail = tail.ljust(BLOCK - len(head) - 8, b"\0")
    # The checksum is over the block with its own field as eight spaces.
    checksum = sum(head) + sum(tail) + 8 * ord(" ")
    return head + b"%06o\0 " % checksum + tail


def _pax(records: dict[str, bytes]) -> bytes:
    body = b"".join(_record(key, records[key]) for key in sorted(records))
    fields = _Fields({})
    numbers = b"".join(
        fields.octal(key, value, width)
        for key, value, width in (
            ("mode", 0o644, 8),
            ("uid", 0, 8),
            ("gid", 0, 8),
            ("size", len(body), 12),
            ("mtime", 0, 12),
        )
    )
    block = _ustar_block(b"././@PaxHeader", _PAX, numbers, b"", _NO_DEVICE)
    return block + body + _padding(len(body))


def _record(key: str, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where LENGTH counts itself."""
    rest = b" " + key.encode("utf-8", "surrogateescape") + b"=" + value + b"\n"
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return b"%d%s" % (length, rest)


def _fit_name(path: bytes, records: dict[str, bytes]) -> tuple[bytes, bytes]:
    """The ustar name and prefix of `path`."""
    if path.isascii():
        if len(path) <= _NAME:
            return path, b""
        # Cut at the last slash that leaves a prefix which fits; a directory's own slash stays.
        cut = path.rfind(b"/", 0, min(_PREFIX + 1, len(path) - 1))
        if cut > 0 and len(path) - cut - 1 <= _NAME:
            return path[cut + 1 :], path[:cut]
    records["path"] = path
    return _plain(path), b""


def _fit_link(target: bytes, records: dict[str, bytes]) -> bytes:
    if target.isascii() and len(target) <= _NAME:
        return target
    records["linkpath"] = target
    return _plain(target)


def _plain(path: bytes) -> bytes:
    """What a reader without PAX sees of a name that ustar cannot hold."""
    return bytes(byte if byte < 0x80 else ord("_") for byte in path[:_NAME])


def _raw(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def _write_content(path: str, content: Content, out: Write) -> None:
    match content:
        case Inline():
            for start in range(0, content.size, READ):
                out(content.data[start : start + READ])
        case OnDisk() | Unread():
            _copy_file(path, content, out)
        case Opened():
            _copy_verified(path, content, out)
        case InSnapshot():
            _copy_snapshot(path, content, out)
        case InLayer():
            raise InternalError(f"/{path} was not taken out of the layer {content.blob.short}")
    if padding := _padding(content.size):
        out(padding)


def _copy_file(path: str, content: OnDisk | Unread, out: Write) -> None:
    def opener() -> BinaryIO:
        return open(content.path, "rb", buffering=0)

    if not _copy(_pieces(path, opener, f"{content.path}: "), content.size, out):
        raise BuildError(
            f"/{path} changed while it was put into the image",
            why=f"{content.path} is no longer {content.size} bytes long",
            hint=_LEAVE_ALONE,
        )


def _copy_verified(path: str, content: Opened, out: Write) -> None:
    hasher = hashlib.new(content.digest.algorithm)

    def hashed(data: bytes) -> None:
        hasher.update(data)
        out(data)

    is_whole = _copy(_pieces(path, content.opener), content.size, hashed)
    if not is_whole or hasher.hexdigest() != content.digest.hex:
        raise BuildError(
            f"/{path} changed while it was read",
            why=f"its content is no longer {content.digest}, {content.size} bytes",
            hint=_LEAVE_ALONE,
        )


def _copy_snapshot(path: str, content: InSnapshot, out: Write) -> None:
    hasher = hashlib.sha256()

    def hashed(data: bytes) -> None:
        hasher.update(data)
        out(data)

    if not _copy(_pieces(path, content.file.open), content.size, hashed):
        raise BuildError(
            f"/{path} is damaged in the snapshot {content.name}",
            why=f"it is no longer {content.size} bytes long",
            hint="build again with --no-cache",
        )
    content.file.note(Digest("sha256", hasher.hexdigest()))


def _copy(pieces: Iterable[bytes], size: int, out: Write) -> bool:
    """Copy at most `size` bytes; whether there were exactly as many."""
    left = size
    for data in pieces:
        left -= len(data)
        if left < 0:
            break
        out(data)
    return left == 0


def _pieces(path: str, opener: Callable[[], BinaryIO], place: str = "") -> Iterator[bytes]:
    try:
        with opener() as file:
            while data := file.read(READ):
                yield data
    except OSError as error:
        raise BuildError(
            f"cannot read the file for /{path} of the image",
            why=f"{place}{error.strerror or error}",
            hint=_LEAVE_ALONE,
        ) from error
