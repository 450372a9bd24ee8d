# SPDX-License-Identifier: Apache-2.0
"""Contents on their way from an archive or layer into a tree.

Small ones stay in memory, up to a bound; the others go to one file, one after the other: a file for
each would cost more than the contents. They are hashed on the way, and verified again when they are
written.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from wherry.errors import MachineError
from wherry.fstree.tree import Inline, Opened
from wherry.oci.digest import Digest

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_SMALL: Final = 1 << 14
_MEMORY: Final = 1 << 25
_BUFFER: Final = 1 << 18


class Spool:
    """Takes contents; a context manager, for one thread.

    What it gave can be read once it was left, as long as `directory` is there. Its file there gets
    a name of its own.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._path = ""
        self._file: BinaryIO | None = None
        self._size = 0
        self._held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_error: object) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                # What could not be written is told only if nothing else was.
                if kind is None:
                    raise self._refused(error) from error

    def add(self, pieces: Iterable[bytes], size: int) -> Inline | Opened:
        """Take a content of `size` bytes; raises `MachineError` and whatever `pieces` raise."""
        if size <= _SMALL and self._held + size <= _MEMORY:
            self._held += size
            return Inline(b"".join(pieces))
        hasher = hashlib.sha256()
        start = self._size
        file = self._opened()
        for piece in pieces:
            hasher.update(piece)
            try:
                file.write(piece)
            except OSError as error:
                raise self._refused(error) from error
            self._size += len(piece)
        opener = partial(_open_part, self._path, start, size)
        return Opened(opener, size, Digest("sha256", hasher.hexdigest()))

    def _opened(self) -> BinaryIO:
        if self._file is None:
            try:
                descriptor, self._path = tempfile.mkstemp(prefix="contents-", dir=self._directory)
            except OSError as error:
                raise self._refused(error) from error
            self._file = os.fdopen(descriptor, "wb", _BUFFER)
        return self._file

    def _refused(self, error: OSError) -> MachineError:
        return MachineError(
            "cannot keep the files of an archive or layer for the build",
            why=f"{self._directory}: {error.strerror or error}",
            hint="make room on that disk",
        )


def _open_part(path: str, start: int, size: int) -> BinaryIO:
    """`size` bytes of the file at `path`, from `start` on."""
    return io.BufferedReader(_Part(os.open(path, os.O_RDONLY | os.O_CLOEXEC), start, size), _BUFFER)


class _Part(io.RawIOBase):
    """A part of a file for reading; owns the descriptor."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._at = start
        self._end = start + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")[: self._end - self._at]
        data = os.pread(self._descriptor, len(view), self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()
