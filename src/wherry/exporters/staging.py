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
from typing import BinaryIO

from wherry.errors import MachineError, UsageError

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


@contextmanager
def staged_file(dest: str) -> Iterator[BinaryIO]:
    """A file to write that becomes `dest` when the block ends well, and else never was.

    The file gets the rights that the user's umask leaves. A link at `dest` stays a link, and what
    it leads to is replaced; a pipe or device is written to as it is.
    """
    with explained(dest):
        target = os.path.realpath(dest)
        if _is_special(target):
            with open(target, "wb") as file:
                yield file
            return
        directory, name = os.path.split(target)
        staged = os.path.join(directory, f".{name[:200]}.{secrets.token_hex(6)}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(staged, flags, 0o666)
        try:
            with open(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(descriptor)
            os.rename(staged, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(staged)
            raise
        sync_directory(directory)


@contextmanager
def stream_output(stream: BinaryIO) -> Iterator[Callable[[bytes], object]]:
    """What writes to stdout or its like; an error leaves a part there.

    Raises `UsageError` where the stream is a terminal, `MachineError` where it takes no more.
    """
    if stream.isatty():
        raise UsageError("an archive does not go to a terminal",
                         hint="name a file with dest=FILE, or send stdout to one")  # fmt: skip
    with explained("the archive to stdout"):
        yield partial(_write_all, stream)
        stream.flush()


def _write_all(stream: BinaryIO, data: bytes) -> None:
    # An unbuffered stream may take a part.
    view = memoryview(data)
    while view:
        written = stream.write(view)
        view = view[len(view) if written is None else written :]


def write_file(dest: str, data: bytes) -> None:
    """Make `data` the content of `dest`, whole or not at all."""
    with staged_file(dest) as file:
        file.write(data)


def sync_directory(path: str) -> None:
    """Make the names in `path` last through a power failure."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_special(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise UsageError(f"cannot write {path}", why="it is a directory",
                         hint="name a file, or add tar=false for an OCI layout")  # fmt: skip
    return not stat.S_ISREG(mode)
