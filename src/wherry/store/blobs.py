# SPDX-License-Identifier: Apache-2.0
"""Bytes by digest. A blob that is there is whole: staged, fsynced, then renamed into place.

Large ones that a registry has too are marked instead of fsynced (`wherry.store.unsynced`).

The time of last use is the file's mtime. The directory is fsynced later, once for all blobs that a
record needs (`barrier`): until a record names a blob, losing it costs only work.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import BinaryIO, Final, Self

from wherry.errors import InternalError, MachineError
from wherry.oci.digest import Digest, sha256
from wherry.store.errors import machine_error
from wherry.store.session import Session
from wherry.store.sources import Sources
from wherry.store.unsynced import Unsynced

# Below, waiting for the disk costs no more than a mark would.
_WORTH_A_MARK: Final = 4 << 20
# 500 MB received, hashed and written take 0.5 s so; with one fsync at the end, 0.7 to 1.4 s.
_SENT_OUT_BYTES = 8 << 20


class Blobs:
    """The blob store; safe for threads and processes."""

    def __init__(self, session: Session, sources: Sources) -> None:
        self.session = session
        self._sources = sources
        self._root = f"{session.root}/blobs"
        self._mutex = threading.Lock()
        self._unsynced: set[str] = set()
        self._written = 0
        self.unsynced = Unsynced(session)

    def path(self, digest: Digest) -> str:
        """Where the blob lies if it is there: for `has` to ask first."""
        return f"{self._root}/{digest.algorithm}/{digest.hex}"

    def has(self, digest: Digest, size: int | None = None) -> bool:
        """Whether the blob is there (with that size); if so it stays while this store is open."""
        path = self.path(digest)
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise machine_error(error, path) from error
        if size is not None and status.st_size != size:
            return False
        if status.st_mtime >= self.session.start:
            return True
        with self.session.gate():
            return not self.session.touch((path,), self.session.now())

    def known(self, digest: Digest, size: int | None = None) -> bool:
        """Whether the blob is there, or a repository is known that it can be fetched from."""
        return self.has(digest, size) or bool(self._sources.of(digest))

    def touch(self, digests: Iterable[Digest], stamp: float) -> tuple[str, ...]:
        """`Session.touch` for blobs or, where they are elsewhere, for their sources.

        The holder of the gate gets the paths of those that have neither.
        """
        by_path = {self.path(digest): digest for digest in digests}
        gone = self.session.touch(by_path, stamp)
        return tuple(path for path in gone if not self._sources.touch(by_path[path], stamp))

    def keep(self, digests: Iterable[Digest], stamp: float) -> None:
        """Mark blobs as used and lasting; raises `MachineError` if one is not known."""
        with self.session.gate():
            missing = self.touch(digests, stamp)
        if missing:
            raise _missing(missing[0])
        self.barrier()

    def open(self, digest: Digest) -> BinaryIO:
        """The blob for reading, not verified; raises `MachineError` if it is missing."""
        path = self.path(digest)
        try:
            return open(path, "rb")
        except FileNotFoundError as error:
            raise _missing(path) from error
        except OSError as error:
            raise machine_error(error, path) from error

    def read(self, digest: Digest) -> bytes:
        """The blob's bytes, verified; raises `MachineError` if it is missing or damaged."""
        with self.open(digest) as file:
            try:
                data = file.read()
            except OSError as error:
                raise machine_error(error, self.path(digest)) from error
        found = hashlib.new(digest.algorithm, data).hexdigest()
        if found != digest.hex:
            path = self.path(digest)
            raise MachineError(f"the blob {digest} in the store is damaged",
                               why=f"its bytes have the digest {digest.algorithm}:{found}",
                               hint=f"remove {path} and build the image again")  # fmt: skip
        return data

    def put(self, data: bytes) -> Digest:
        """Store `data` unless it is there."""
        digest = sha256(data)
        if not self.has(digest, len(data)):
            with self.writer() as writer:
                writer.write(data)
                writer.commit(digest, len(data))
        return digest

    def writer(self) -> BlobWriter:
        """Stage a blob piece by piece; use it as a context manager."""
        return BlobWriter(self, self.session)

    @property
    def fetched(self) -> FetchedBlobs:
        """The same blobs for one who puts in what can be fetched again."""
        return FetchedBlobs(self)

    def may_wait(self, digest: Digest, size: int) -> bool:
        """Whether the blob is marked instead of synced: it is large, and a registry has it."""
        return (
            size >= _WORTH_A_MARK and bool(self._sources.of(digest)) and self.unsynced.mark(digest)
        )

    def barrier(self) -> None:
        """Make the names of all blobs committed so far last through a power failure."""
        with self._mutex:
            directories, self._unsynced = self._unsynced, set()
        for directory in sorted(directories):
            try:
                fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
            except OSError as error:
                raise machine_error(error, directory) from error

    def take_written(self) -> int:
        """The bytes committed since the last call: what the size cap has to look at."""
        with self._mutex:
            written, self._written = self._written, 0
        return written

    @property
    def grew(self) -> bool:
        """Whether `take_written` has something to give."""
        return self._written > 0

    def place(self, staged: str, digest: Digest, size: int) -> None:
        """Give a staged and fsynced file its name; for `BlobWriter`."""
        target = self.path(digest)
        # Under the gate, so that removal of an old blob of this name cannot hit the new one.
        with self.session.gate():
            try:
                os.rename(staged, target)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(target), 0o700, exist_ok=True)
                os.rename(staged, target)
        with self._mutex:
            self._unsynced.add(os.path.dirname(target))
            self._written += size
        self.session.note("blob", str(digest))


class FetchedBlobs:
    """A blob store for what comes from registries: large blobs do not wait for the disk."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def has(self, digest: Digest, size: int | None = None) -> bool:
        """As `Blobs.has`."""
        return self._blobs.has(digest, size)

    def writer(self) -> BlobWriter:
        """As `Blobs.writer`."""
        return BlobWriter(self._blobs, self._blobs.session, lasting=False)


class BlobWriter:
    """One blob being staged; leaving the context without a commit leaves nothing behind.

    Not `lasting`: it need not be on the disk at once if a registry has it.
    """

    def __init__(self, blobs: Blobs, session: Session, *, lasting: bool = True) -> None:
        self._blobs = blobs
        self._lasting = lasting
        self._session = session
        self._size = 0
        self._sent_out = 0
        self._committed = False
        try:
            self._path = session.staged_path("blob")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise machine_error(error, session.root) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)
        if not self._committed:
            with suppress(FileNotFoundError):
                os.unlink(self._path)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append `data`; raises `MachineError` when the disk is full."""
        view = memoryview(data).cast("B")
        self._size += len(view)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
            if self._lasting and self._size - self._sent_out >= _SENT_OUT_BYTES:
                self._send_out()
        except OSError as error:
            raise machine_error(error, self._session.root) from error

    def _send_out(self) -> None:
        """Have the disk begin with what was written, so that the fsync at the end finds little."""
        if hasattr(os, "posix_fadvise"):
            length = self._size - self._sent_out
            os.posix_fadvise(self._fd, self._sent_out, length, os.POSIX_FADV_DONTNEED)
        self._sent_out = self._size

    def commit(self, digest: Digest, size: int) -> None:
        """Make it the blob `digest`, which the caller computed while writing."""
        if size != self._size:
            raise InternalError(f"blob {digest} has {self._size} bytes, not {size}")
        self._session.trace("blob-staged")
        try:
            if self._lasting or not self._blobs.may_wait(digest, size):
                os.fsync(self._fd)
            self._session.trace("blob-synced")
            now = self._session.now()
            os.utime(self._fd, (now, now))
            self._blobs.place(self._path, digest, size)
        except OSError as error:
            raise machine_error(error, self._session.root) from error
        self._committed = True
        self._session.trace("blob-renamed")


def _missing(path: str) -> MachineError:
    return MachineError("a blob is missing from the store", why=f"{path} is not there",
                        hint="build or pull the image again")  # fmt: skip
