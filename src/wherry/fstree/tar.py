# SPDX-License-Identifier: Apache-2.0
"""Deterministic tar: one tree and one time give one sequence of bytes.

Entries stand in the tree's order as POSIX ustar headers (POSIX.1-2017, pax, "ustar Interchange
Format"), with a PAX extended header only where ustar cannot say it: long or non-ASCII names, huge
numbers, extended attributes. PAX values are raw bytes without `hdrcharset`, as Go's tar writes
them, so that a name which is not UTF-8 comes back as it was. The archive ends with exactly two zero
blocks; there is no padding to a record size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from wherry.errors import BuildError, InternalError
from wherry.fstree.tree import (
    Content,
    Directory,
    Entry,
    File,
    HardLink,
    Inline,
    OnDisk,
    Symlink,
    Tree,
    Unread,
)

BLOCK: Final = 512
READ: Final = 1 << 20

Write = Callable[[bytes], object]

_REGULAR, _HARD_LINK, _SYMLINK, _DIRECTORY, _PAX = b"0", b"1", b"2", b"5", b"x"
_MAGIC = b"ustar\0" + b"00"
_NAME, _PREFIX = 100, 155


class _Header(NamedTuple):
    name: bytes
    kind: bytes
    mode: int
    owner: tuple[int, int]
    size: int = 0
    link: bytes = b""
    xattrs: tuple[tuple[str, bytes], ...] = ()


def write_tar(tree: Tree, out: Write, mtime: int) -> None:
    """Write `tree` as tar to `out`; every entry gets the time `mtime` (seconds since 1970).

    `out` takes pieces of any size up to 1 MiB. A file on disk that cannot be read, or is not as
    long as the tree says, raises `BuildError`; then the archive is incomplete.
    """
    files: dict[str, File] = {}
    for entry in tree.entries:
        out(_encoded(_header(entry, files), mtime))
        if isinstance(entry, File):
            files[entry.path] = entry
            _write_content(entry.path, entry.content, out)
    out(bytes(2 * BLOCK))


def _header(entry: Entry, files: dict[str, File]) -> _Header:
    name = _raw(entry.path)
    match entry:
        case Directory():
            return _Header(name + b"/", _DIRECTORY, entry.mode, (entry.uid, entry.gid))
        case File():
            owner, size = (entry.uid, entry.gid), entry.content.size
            return _Header(name, _REGULAR, entry.mode, owner, size, xattrs=entry.xattrs)
        case Symlink():
            owner, link = (entry.uid, entry.gid), _raw(entry.target)
            return _Header(name, _SYMLINK, 0o777, owner, link=link)
        case HardLink():
            # Some readers give the header's mode and owner to the shared file: they are its own.
            file = files.get(entry.target)
            if file is None:
                raise InternalError(f"hard link /{entry.path} has no /{entry.target} before it")
            owner, link = (file.uid, file.gid), _raw(entry.target)
            return _Header(name, _HARD_LINK, file.mode, owner, link=link)


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
        prefix,
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


def _ustar_block(name: bytes, kind: bytes, numbers: bytes, link: bytes, prefix: bytes) -> bytes:
    no_names, no_device = bytes(64), b"0000000\0" * 2
    head = name.ljust(_NAME, b"\0") + numbers
    tail = kind + link.ljust(_NAME, b"\0") + _MAGIC + no_names + no_device + prefix
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
    return _ustar_block(b"././@PaxHeader", _PAX, numbers, b"", b"") + body + _padding(len(body))


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
    if padding := _padding(content.size):
        out(padding)


def _copy_file(path: str, content: OnDisk | Unread, out: Write) -> None:
    """Copy exactly the promised number of bytes; more or fewer in the file is an error."""
    left = content.size
    for data in _pieces(path, content):
        left -= len(data)
        if left < 0:
            break
        out(data)
    if left != 0:
        raise BuildError(
            f"/{path} changed while it was put into the image",
            why=f"{content.path} is no longer {content.size} bytes long",
            hint="build again, and leave the files alone while the build runs",
        )


def _pieces(path: str, content: OnDisk | Unread) -> Iterator[bytes]:
    try:
        with open(content.path, "rb", buffering=0) as file:
            while data := file.read(READ):
                yield data
    except OSError as error:
        raise BuildError(
            f"cannot read the file for /{path} of the image",
            why=f"{content.path}: {error.strerror}",
            hint="build again, and leave the files alone while the build runs",
        ) from error
