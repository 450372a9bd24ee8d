# SPDX-License-Identifier: Apache-2.0
"""Digests of files remembered by what `stat` says of them, as one compact blob.

Form, version 1: magic, sha256 of the rest, number of files, their paths joined by NUL, their rows
of equal length (state, digest). A blob that is damaged or of another form holds nothing: everything
in it can be found out again.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable
from typing import Final, Protocol

from wherry.oci.digest import Digest

_MAGIC: Final = b"wherry-digests-1\n"
_STATE: Final = struct.Struct("<qqqQQ")
_COUNT: Final = struct.Struct("<QQ")
_DIGEST: Final = 32
_ROW: Final = _STATE.size + _DIGEST


class FileMemo(Protocol):
    """Keeps one blob between builds; it may lose it at any time."""

    def load(self) -> bytes | None:
        """What was saved last, if anything."""

    def save(self, data: bytes) -> None:
        """Keep `data` in place of what there was."""


class NoMemo:
    """Remembers nothing."""

    def load(self) -> bytes | None:
        """Nothing."""
        return None

    def save(self, data: bytes) -> None:
        """Dropped."""


def state(status: os.stat_result) -> bytes:
    """What tells two states of one file apart: size, times, inode, device."""
    return _STATE.pack(
        status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev
    )


class Digests:
    """The known digests of files by path and state."""

    def __init__(self, data: bytes | None = None) -> None:
        self._rows = _decode(data) if data else {}
        self.is_changed = False

    def get(self, path: str, seen: bytes) -> Digest | None:
        """The digest of the file at `path` if it was remembered in this state."""
        row = self._rows.get(path)
        if row is None or not row.startswith(seen):
            return None
        return Digest("sha256", row[_STATE.size :].hex())

    def put(self, path: str, seen: bytes, digest: Digest) -> None:
        """Remember a sha256 digest."""
        self._rows[path] = seen + bytes.fromhex(digest.hex)
        self.is_changed = True

    def encode(self, keeps: Callable[[str], bool]) -> bytes:
        """The blob of all files whose paths `keeps` is true for."""
        kept = [path for path in self._rows if keeps(path)]
        names = "\0".join(kept).encode("utf-8", "surrogateescape")
        rows = b"".join([self._rows[path] for path in kept])
        body = _COUNT.pack(len(kept), len(names)) + names + rows
        return _MAGIC + hashlib.sha256(body).digest() + body


def _decode(data: bytes) -> dict[str, bytes]:
    start = len(_MAGIC) + _DIGEST
    body = memoryview(data)[start:]
    if (
        not data.startswith(_MAGIC)
        or len(body) < _COUNT.size
        or hashlib.sha256(body).digest() != data[len(_MAGIC) : start]
    ):
        return {}
    count, length = _COUNT.unpack_from(body)
    names = bytes(body[_COUNT.size : _COUNT.size + length])
    rows = bytes(body[_COUNT.size + length :])
    paths = names.decode("utf-8", "surrogateescape").split("\0") if count else []
    if len(paths) != count or len(rows) != count * _ROW:
        return {}
    cut = [rows[place : place + _ROW] for place in range(0, len(rows), _ROW)]
    return dict(zip(paths, cut, strict=True))
