# SPDX-License-Identifier: Apache-2.0
"""Writing a cache directory: blobs wait in a directory of their exporter's own until it names them.

Whoever publishes removes from blobs/ what nobody names. What another exporter has put, or has found
there and relies on, must survive that: it lies in that exporter's staging directory, as a file of
its own or as a hard link. A locked file in it shows that the exporter lives; the staging directory
of one that was killed goes with the next export.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import stat
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final

from wherry.errors import MachineError
from wherry.gocache.image_layout import LOCK, STAGING, open_below, open_file
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor
from wherry.process.cancel import CancelToken
from wherry.registry.model import BlobSource

_ALIVE: Final = "alive"
_MODE: Final = 0o644
_DIRECTORY_MODE: Final = 0o755
_PIECE: Final = 1 << 20
_TRIES: Final = 100
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_NO_LOCKS: Final = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EXDEV, errno.EMLINK,
                    errno.ENOSYS, errno.EACCES)  # fmt: skip
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_PATIENCE: Final = 120.0
_LONGEST_PAUSE: Final = 0.1
# Without locks only age tells what is left over: of blobs on their way, and of exporters.
_OLD_BLOB: Final = 3600.0
_OLD_STAGING: Final = 86400.0


# --- locks --------------------------------------------------------------------------------------


@contextmanager
def exclusive(root: int, name: str, cancel: CancelToken) -> Iterator[bool]:
    """Hold the directory's lock; False where its file system has no locks.

    Raises `MachineError` where somebody else holds it for minutes, `Cancelled`, `OSError`.
    """
    descriptor = os.open(LOCK, _CREATE, _MODE, dir_fd=root)
    try:
        _suit(descriptor, _MODE)
        deadline, wait = time.monotonic() + _PATIENCE, 0.005
        while (state := try_lock(descriptor)) is False:
            cancel.check()
            if time.monotonic() > deadline:
                raise MachineError(f"cannot write the cache {name}",
                                   why="another export has held it for two minutes",
                                   hint="see whether a process hangs there")  # fmt: skip
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_PAUSE)
        yield state is True
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool | None:
    """Lock a file if that needs no waiting; None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


# --- one exporter's blobs -----------------------------------------------------------------------


class Staging:
    """One exporter's blobs on their way; gone with `close`, or with the process. Thread-safe."""

    def __init__(self, root: int) -> None:
        self._root = os.dup(root)
        try:
            name, self._directory, alive = _new_staging(self._root)
        except BaseException:
            os.close(self._root)
            raise
        self.close = weakref.finalize(self, _drop, self._root, name, self._directory, alive)
        """Remove what was not moved."""

    def has(self, blob: Descriptor) -> bool:
        """Whether the blob waits here."""
        return _has(self._directory, blob)

    def hold(self, blob: Descriptor) -> bool:
        """Keep a blob that the layout has, whatever others do; whether that was possible.

        Its bytes are read: a damaged one is not kept.
        """
        blobs = open_below(self._root, "blobs", "sha256")
        if blobs is None:
            return False
        try:
            os.link(blob.digest.hex, blob.digest.hex, src_dir_fd=blobs, dst_dir_fd=self._directory,
                    follow_symlinks=False)  # fmt: skip
        except FileNotFoundError:
            return False
        except FileExistsError:
            return self.has(blob)
        except OSError as error:
            if error.errno in _NO_LINKS:
                return False
            raise
        finally:
            os.close(blobs)
        if self._is_right(blob):
            return True
        os.unlink(blob.digest.hex, dir_fd=self._directory)
        return False

    def take(self, source: BlobSource, cancel: CancelToken) -> None:
        """Copy a blob, fsynced; raises `MachineError` where it is not what it is called."""
        blob = source.descriptor
        part = f"{blob.digest.hex}.{secrets.token_hex(4)}"
        descriptor = os.open(part, _CREATE | os.O_EXCL, _MODE, dir_fd=self._directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                _suit(descriptor, _MODE)
                _copy(source, file, cancel)
                file.flush()
                os.fsync(descriptor)
            os.rename(part, blob.digest.hex, src_dir_fd=self._directory,
                      dst_dir_fd=self._directory)  # fmt: skip
        except BaseException:
            with suppress(OSError):
                os.unlink(part, dir_fd=self._directory)
            raise

    def move(self, blob: Descriptor, blobs: int) -> None:
        """Bring the blob into the layout."""
        os.rename(blob.digest.hex, blob.digest.hex, src_dir_fd=self._directory, dst_dir_fd=blobs)

    def replace(self, name: str, data: bytes) -> None:
        """Let the file `name` of the layout have these bytes, in one step and for good."""
        part = f"{name}.{secrets.token_hex(4)}"
        descriptor = os.open(part, _CREATE | os.O_EXCL, _MODE, dir_fd=self._directory)
        with os.fdopen(descriptor, "wb") as file:
            _suit(descriptor, _MODE)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.rename(part, name, src_dir_fd=self._directory, dst_dir_fd=self._root)
        sync(self._root)

    def _is_right(self, blob: Descriptor) -> bool:
        try:
            file = open_file(self._directory, blob.digest.hex)
        except OSError:
            return False
        if file is None:
            return False
        digest, size = hashlib.sha256(), 0
        with file:
            while piece := file.read(_PIECE):
                digest.update(piece)
                size += len(piece)
        return (digest.hexdigest(), size) == (blob.digest.hex, blob.size)


def _copy(source: BlobSource, file: BinaryIO, cancel: CancelToken) -> None:
    blob, digest, size = source.descriptor, hashlib.sha256(), 0
    with source.open(0) as stream:
        while piece := stream.read(_PIECE):
            cancel.check()
            digest.update(piece)
            size += len(piece)
            file.write(piece)
    if (Digest("sha256", digest.hexdigest()), size) != (blob.digest, blob.size):
        raise MachineError(f"the blob {blob.digest} is damaged or was changed",
                           why=f"its {size} bytes do not have that digest and size",
                           hint="try again")  # fmt: skip


def _new_staging(root: int) -> tuple[str, int, int]:
    """A directory with a locked file: its name, and descriptors of both.

    A sweeper may take a new one for a dead exporter's until the lock is held: then there is
    another.
    """
    for _ in range(_TRIES):
        name = f"{STAGING}{secrets.token_hex(8)}"
        os.mkdir(name, _DIRECTORY_MODE, dir_fd=root)
        directory = open_below(root, name)
        if directory is None:
            continue
        try:
            _suit(directory, _DIRECTORY_MODE)
            alive = os.open(_ALIVE, _CREATE | os.O_EXCL, _MODE, dir_fd=directory)
        except FileNotFoundError:
            os.close(directory)
            continue
        except BaseException:
            os.close(directory)
            with suppress(OSError):
                os.rmdir(name, dir_fd=root)
            raise
        try:
            # A sweeper that was faster has emptied it by now, or is doing so.
            if try_lock(alive) is not False and _is_named(directory, alive):
                return name, directory, alive
        except BaseException:
            _drop(os.dup(root), name, directory, alive)
            raise
        os.close(alive)
        os.close(directory)
    raise OSError(errno.EBUSY, "its staging directories are removed by somebody else")


def _is_named(directory: int, alive: int) -> bool:
    try:
        status = os.stat(_ALIVE, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(status, os.fstat(alive))


def _drop(root: int, name: str, directory: int, alive: int) -> None:
    _empty(directory)
    with suppress(OSError):
        os.rmdir(name, dir_fd=root)
    for descriptor in (alive, directory, root):
        os.close(descriptor)


def _empty(directory: int) -> None:
    """Remove the files; the one that shows life goes last."""
    with suppress(OSError):
        for name in sorted(os.listdir(directory), key=lambda name: name == _ALIVE):
            with suppress(OSError):
                os.unlink(name, dir_fd=directory)


# --- what is left over --------------------------------------------------------------------------


def sweep_stagings(root: int) -> None:
    """Remove what killed exporters left; called by the holder of the lock."""
    for name in os.listdir(root):
        if name.startswith(STAGING):
            with suppress(OSError):
                _sweep_staging(root, name)


def _sweep_staging(root: int, name: str) -> None:
    directory = open_below(root, name)
    if directory is None:
        return
    try:
        try:
            alive = os.open(_ALIVE, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
        except FileNotFoundError:
            # Just being made, or just being removed: an empty one may go either way.
            os.rmdir(name, dir_fd=root)
            return
        try:
            state = try_lock(alive)
            age = _now(root) - os.fstat(directory).st_mtime if state is None else 0.0
            if state is True or age > _OLD_STAGING:
                _empty(directory)
                os.rmdir(name, dir_fd=root)
        finally:
            os.close(alive)
    finally:
        os.close(directory)


def sweep_blobs(root: int, named: frozenset[str], *, is_locked: bool) -> None:
    """Remove the blobs that are not `named` (by their hex digits).

    Without the lock those stay that may be on their way: what came here within an hour.
    """
    blobs = open_below(root, "blobs", "sha256")
    if blobs is None:
        return
    try:
        oldest = None if is_locked else _now(root) - _OLD_BLOB
        for name in os.listdir(blobs):
            if name not in named and _HEX.fullmatch(name):
                with suppress(OSError):
                    _sweep_blob(blobs, name, oldest)
    finally:
        os.close(blobs)


def _sweep_blob(blobs: int, name: str, oldest: float | None) -> None:
    status = os.stat(name, dir_fd=blobs, follow_symlinks=False)
    if oldest is None or status.st_ctime < oldest:
        os.unlink(name, dir_fd=blobs)


def _now(root: int) -> float:
    """The file system's own time, by touching the lock's file: clocks may differ."""
    os.utime(LOCK, dir_fd=root, follow_symlinks=False)
    return os.stat(LOCK, dir_fd=root, follow_symlinks=False).st_mtime


# --- directories --------------------------------------------------------------------------------


def open_for_writing(root: int, *names: str) -> int:
    """A descriptor of a directory below `root`, which is made where it is missing."""
    found = os.dup(root)
    for name in names:
        try:
            with suppress(FileExistsError):
                os.mkdir(name, _DIRECTORY_MODE, dir_fd=found)
                sync(found)
            inner = os.open(name, _DIRECTORY, dir_fd=found)
            _suit(inner, _DIRECTORY_MODE)
        finally:
            os.close(found)
        found = inner
    return found


def make_root(path: str) -> None:
    """Make the directory and what is missing above it."""
    with suppress(FileExistsError):
        os.makedirs(path, _DIRECTORY_MODE)
        os.chmod(path, _DIRECTORY_MODE)


def sync(directory: int) -> None:
    """Make a directory's names last through a power failure, where its file system can."""
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP):
            raise


def _has(directory: int, blob: Descriptor) -> bool:
    try:
        status = os.stat(blob.digest.hex, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == blob.size


def _suit(descriptor: int, mode: int) -> None:
    """Set the mode, whatever the umask: the next job may run as somebody else."""
    with suppress(PermissionError):
        os.fchmod(descriptor, mode)
