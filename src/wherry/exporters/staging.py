# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all, and what the disk refuses in the user's words.

A file is written beside its destination under a name of its own, fsynced, and renamed. What is
there already stays untouched until then.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import BinaryIO, Protocol

from wherry.errors import MachineError, UsageError
from wherry.exporters.patient import PatientWriter, open_patiently
from wherry.process.cancel import CancelToken

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def output_error(error: OSError, dest: str) -> MachineError:
    """The error that tells the user why the output `dest` cannot be written."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        hint = "make room on that disk, or name another place"
    elif error.errno in _REFUSED:
        hint = "name a place that you may write to"
    elif error.errno in (errno.ENOENT, errno.ENOTDIR):
        hint = "make the directory first, or name another place"
    else:
        hint = "name another place"
    return MachineError(f"cannot write {dest}", why=reason, hint=hint)


@contextmanager
def explained(dest: str) -> Iterator[None]:
    """Turn an `OSError` inside the block into the `MachineError` for the output `dest`."""
    try:
        yield
    except OSError as error:
        raise output_error(error, dest) from error


class Writable(Protocol):
    """What takes bytes, all of them."""

    def write(self, data: bytes, /) -> int:
        """Write `data`."""


@contextmanager
def staged_file(dest: str, cancel: CancelToken | None = None) -> Iterator[Writable]:
    """A file to write that becomes `dest` when the block ends well, and else never was.

    The file gets the rights that the user's umask leaves. A link at `dest` stays a link, and what
    it leads to is replaced; a pipe or device is written to as it is, and may take its time: until
    then `cancel` is heard.
    """
    with explained(dest):
        # The links below /proc/self/fd lead to names that nobody can open.
        if _is_special(dest):
            descriptor = open_patiently(dest, cancel or CancelToken())
            try:
                yield PatientWriter(descriptor, cancel or CancelToken())
            finally:
                os.close(descriptor)
            return
        target = os.path.realpath(dest)
        directory, name = os.path.split(target)
        staged = os.path.join(directory, f".{name[:200]}.{secrets.token_hex(6)}")
        try:
            with _opened(directory, staged) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                if not os.path.lexists(staged):
                    _name(file.fileno(), staged)
            os.rename(staged, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(staged)
            raise
        sync_directory(directory)


def _name(descriptor: int, path: str) -> None:
    """Give a file its first name (linkat(2), AT_SYMLINK_FOLLOW)."""
    # Python follows links only where a directory is given, which an absolute path leaves unused.
    os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor, follow_symlinks=True)


def _opened(directory: str, staged: str) -> BinaryIO:
    """A file to write, which has no name where the system knows such: who is killed leaves none."""
    flags = os.O_WRONLY | os.O_CLOEXEC
    descriptor = -1
    unnamed = getattr(os, "O_TMPFILE", 0)
    if unnamed and os.path.isdir("/proc/self/fd"):
        # Not every file system has them, and says so in ways of its own.
        with suppress(OSError):
            descriptor = os.open(directory, flags | unnamed, 0o666)
    if descriptor < 0:
        descriptor = os.open(staged, flags | os.O_CREAT | os.O_EXCL, 0o666)
    return open(descriptor, "wb")


@contextmanager
def stream_output(
    stream: BinaryIO, cancel: CancelToken | None = None
) -> Iterator[Callable[[bytes], object]]:
    """What writes to stdout or its like; an error leaves a part there.

    Raises `UsageError` where the stream is a terminal, `MachineError` where it takes no more,
    `Cancelled` also where it takes nothing.
    """
    if stream.isatty():
        raise UsageError("an archive does not go to a terminal",
                         hint="name a file with dest=FILE, or send stdout to one")  # fmt: skip
    with explained("the archive to stdout"):
        stream.flush()
        try:
            descriptor = stream.fileno()
        except OSError:
            # Nothing of the system's, such as a buffer.
            yield partial(_write_all, stream)
            stream.flush()
        else:
            yield PatientWriter(descriptor, cancel or CancelToken()).write


def _write_all(stream: BinaryIO, data: bytes) -> None:
    # An unbuffered stream may take a part.
    view = memoryview(data)
    while view:
        written = stream.write(view)
        view = view[len(view) if written is None else written :]


def write_file(dest: str, data: bytes, cancel: CancelToken | None = None) -> None:
    """Make `data` the content of `dest`, whole or not at all; `cancel` as for `staged_file`."""
    with staged_file(dest, cancel) as file:
        file.write(data)


def sync_directory(path: str) -> None:
    """Make the names in `path` last through a power failure."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_directory(path: str) -> None:
    """Raise `UsageError` where a directory is, which no file can replace."""
    if os.path.isdir(path):
        raise UsageError(f"cannot write {path}", why="it is a directory",
                         hint="name a file, or add tar=false for an OCI layout")  # fmt: skip


def _is_special(path: str) -> bool:
    refuse_directory(path)
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return False
