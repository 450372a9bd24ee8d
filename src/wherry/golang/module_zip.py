# SPDX-License-Identifier: Apache-2.0
"""The hash of a module's zip, as go.sum has it, and the module's tree, as Go makes it of the zip.

A zip can be written so that one reader finds other files in it than the next. Only plain ones have
a hash here: those of which every reader sees the same. Source: the documentation of
golang.org/x/mod/zip.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from wherry.golang.go_sum import hash_files

# What Go unpacks at most, for one module (golang.org/x/mod/zip, MaxZipFile).
_MOST_BYTES = 500 << 20
_MOST_FILES = 500_000
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_IS_UTF8 = 0x800
# Encrypted, patched, strongly encrypted: what other readers refuse.
_IS_CHANGED = 0x1 | 0x20 | 0x40
_PIECE = 1 << 20
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error,
    ValueError, EOFError, RuntimeError, OverflowError,
)  # fmt: skip
# A file's own header: signature, length of its name, length of what follows that.
_HEAD = struct.Struct("<4s22x2H")
_LOCAL = b"PK\3\4"
# As Go leaves trees; the modes in the zip count for nothing.
_FILE, _DIRECTORY = 0o444, 0o555


class Output(Protocol):
    """What a file's bytes are written to."""

    def write(self, data: bytes, /) -> int:
        """Take all of `data`."""


def hash_zip(path: str, module: str) -> str:
    """The hash that go.sum has for `PATH@VERSION` with this zip; empty for what is no such zip.

    Only plain zips count: every reader has to see the same files in it.
    """
    try:
        return _read(path, f"{module}/", lambda _name: _NOWHERE)
    except OSError:
        return ""


def unpack_zip(path: str, module: str, target: str) -> str:
    """Make the tree of a module in the new directory `target`; gives the hash as `hash_zip` does.

    With another hash than the expected one the tree is of no use. `target` itself can still be
    written to, so that it can be moved. Raises `OSError` for a disk that does not take it.
    """
    os.mkdir(target, 0o755)
    tree = _NewTree(target)
    found = _read(path, f"{module}/", tree.open)
    if found:
        tree.close()
    return found


def _read(path: str, prefix: str, opened: Callable[[str], AbstractContextManager[Output]]) -> str:
    """The hash of a zip's files, each of which is written to what `opened` gives for its name.

    Empty for what is no plain zip. Raises `OSError`.
    """
    try:
        with open(path, "rb", buffering=0) as file, zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            size = os.fstat(file.fileno()).st_size
            if not _is_plain(archive, entries, prefix, size):
                return ""
            hashed = []
            for entry in entries:
                with opened(entry.filename[len(prefix) :]) as output:
                    digest = _digest(archive, entry, output, file.fileno())
                hashed.append((entry.filename, digest))
            return hash_files(hashed)
    except _DAMAGE:
        return ""
    except OSError as error:
        # Names that no tree has, and no disk is at fault.
        if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG):
            return ""
        raise


def _is_plain(
    archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], prefix: str, size: int
) -> bool:
    """Whether a zip of `size` bytes has only what all readers take alike."""
    names = {entry.filename for entry in entries}
    return (
        len(entries) <= _MOST_FILES
        and len(names) == len(entries)
        and not archive.comment
        and sum(entry.file_size for entry in entries) <= _MOST_BYTES
        and all(
            entry.filename == entry.orig_filename
            and entry.filename.startswith(prefix)
            and _is_inside(entry.filename[len(prefix) :])
            # Elsewhere not even the kernel goes, which would look like a fault of the disk.
            and 0 <= entry.header_offset < size
            and entry.compress_type in _PLAIN
            and not entry.flag_bits & _IS_CHANGED
            and (entry.filename.isascii() or bool(entry.flag_bits & _IS_UTF8))
            for entry in entries
        )
    )


def _is_inside(name: str) -> bool:
    """Whether a name is a file's at or below the directory that it is taken for."""
    return "\0" not in name and "\n" not in name and not {"", ".", ".."} & set(name.split("/"))


def _digest(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, output: Output, descriptor: int
) -> str:
    """The sha256 of a file as hex, which is written to `output`; the zip is open, too."""
    if max(entry.file_size, entry.compress_size) <= _PIECE:
        data = _content(entry, descriptor)
        output.write(data)
        return hashlib.sha256(data).hexdigest()
    hasher = hashlib.sha256()
    with archive.open(entry) as file:
        while data := file.read(_PIECE):
            hasher.update(data)
            output.write(data)
    return hasher.hexdigest()


def _content(entry: zipfile.ZipInfo, descriptor: int) -> bytes:
    """A small file: Python's own reader takes longer to set out than for most sources themselves.

    Raises `ValueError` where the parts of the zip do not agree.
    """
    name = entry.orig_filename.encode()
    begin = entry.header_offset
    head = os.pread(descriptor, _HEAD.size + len(name), begin)
    signature, name_size, extra_size = _HEAD.unpack_from(head)
    if signature != _LOCAL or name_size != len(name) or head[_HEAD.size :] != name:
        raise ValueError(entry.filename)
    begin += _HEAD.size + name_size + extra_size
    packed = data = os.pread(descriptor, entry.compress_size, begin)
    if entry.compress_type == zipfile.ZIP_DEFLATED:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        data = inflate.decompress(packed, entry.file_size + 1)
        if not inflate.eof:
            raise ValueError(entry.filename)
    if len(data) != entry.file_size or zlib.crc32(data) != entry.CRC:
        raise ValueError(entry.filename)
    return data


class _NewTree:
    """A directory that gets files, thousands of them, and the directories above each."""

    _FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

    def __init__(self, target: str) -> None:
        self._target = target
        self._directories = {""}

    def open(self, name: str) -> _NewFile:
        """A new file."""
        above = name.rpartition("/")[0]
        if above not in self._directories:
            self._make(above)
        return _NewFile(os.open(f"{self._target}/{name}", self._FLAGS, _FILE))

    def close(self) -> None:
        """Give the directories their modes."""
        for name in self._directories - {""}:
            os.chmod(f"{self._target}/{name}", _DIRECTORY)

    def _make(self, name: str) -> None:
        here = ""
        for part in name.split("/"):
            here = f"{here}/{part}" if here else part
            if here not in self._directories:
                os.mkdir(f"{self._target}/{here}", 0o755)
                self._directories.add(here)


class _NewFile:
    """A file that is written to its end inside the block."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> _NewFile:
        try:
            # Whatever this process's umask is.
            os.fchmod(self._descriptor, _FILE)
        except OSError:
            os.close(self._descriptor)
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._descriptor)

    def write(self, data: bytes) -> int:
        written = os.write(self._descriptor, data)
        while written < len(data):
            written += os.write(self._descriptor, memoryview(data)[written:])
        return written


class _Nowhere:
    """Takes what nobody wants."""

    def write(self, data: bytes) -> int:
        return len(data)


_NOWHERE = nullcontext(_Nowhere())
