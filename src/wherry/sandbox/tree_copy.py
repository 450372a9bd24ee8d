# SPDX-License-Identifier: Apache-2.0
"""Copies a whole tree with all that files have: owners, modes, times, attributes, links, holes.

The fallback where overlayfs is refused. A copy remembers what is needed to tell later, without
reading every file, what was changed in it since.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
import time
from contextlib import suppress
from typing import Final, NamedTuple

from wherry.sandbox.scanning import check_depth

_FICLONE: Final = 0x40049409
_GET_VERSION: Final = 0x80087601  # FS_IOC_GETVERSION of linux/fs.h
_TICK_SECONDS: Final = 0.001
_PIECE: Final = 1 << 20
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


Identity = tuple[int, bytes]


class Copied(NamedTuple):
    """A copy as it was made: files with an earlier change time (ns) are what they were then.

    `directories` are the identities of its directories by path, "" being the top.
    """

    changed_ns: int
    directories: dict[str, Identity]


def copy_tree(source: str, target: str) -> dict[str, Identity]:
    """Copy what the directory `source` holds, and its metadata, to the empty directory `target`.

    Returns the identities of the new directories by path, "" being the top. Raises `OSError`.
    """
    copy = _Copy()
    with _opened(source) as old, _opened(target) as new:
        copy.directory(old.fd, new.fd, "")
    return copy.directories


def identity(directory: int) -> Identity:
    """What tells an open directory from one that took its place.

    File systems give numbers of removed files to new ones; those that do count generations.
    """
    generation = b""
    with suppress(OSError):
        generation = fcntl.ioctl(directory, _GET_VERSION, bytes(8))
    return os.fstat(directory).st_ino, generation


class _Opened:
    def __init__(self, path: str, parent: int | None) -> None:
        self.fd = os.open(path, _DIRECTORY, dir_fd=parent)

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self.fd)


def _opened(path: str, parent: int | None = None) -> _Opened:
    return _Opened(path, parent)


class _Copy:
    def __init__(self) -> None:
        self.directories: dict[str, Identity] = {}
        # Files with several names, by inode number: where the first name's copy is.
        self._links: dict[int, str] = {}
        self._top = -1

    def directory(self, old: int, new: int, path: str) -> None:
        """Copy all that `old` holds to `new`, then its own metadata."""
        if not path:
            self._top = new
        check_depth(path)
        for name in sorted(os.listdir(old)):
            status = os.lstat(name, dir_fd=old)
            self._entry(old, new, name, status, f"{path}/{name}" if path else name)
        status = os.fstat(old)
        _copy_attributes(f"/proc/self/fd/{old}/.", f"/proc/self/fd/{new}/.")
        os.chown(new, status.st_uid, status.st_gid)
        os.chmod(new, stat.S_IMODE(status.st_mode))
        os.utime(new, ns=(status.st_mtime_ns, status.st_mtime_ns))
        self.directories[path] = identity(new)

    def _entry(self, old: int, new: int, name: str, status: os.stat_result, path: str) -> None:
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(name, 0o700, dir_fd=new)
            with _opened(name, old) as inner, _opened(name, new) as copy:
                self.directory(inner.fd, copy.fd, path)
            return
        known = self._links.get(status.st_ino)
        if known is not None:
            os.link(known, name, src_dir_fd=self._top, dst_dir_fd=new, follow_symlinks=False)
            return
        if stat.S_ISREG(status.st_mode):
            _copy_content(old, new, name)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=old), name, dir_fd=new)
        elif stat.S_ISSOCK(status.st_mode):
            return
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=new)
        _copy_metadata(old, new, name, status)
        if status.st_nlink > 1:
            self._links[status.st_ino] = path


def _copy_metadata(old: int, new: int, name: str, status: os.stat_result) -> None:
    # The owner first: changing it takes set-id bits and capabilities away.
    os.chown(name, status.st_uid, status.st_gid, dir_fd=new, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=new)
    _copy_attributes(f"/proc/self/fd/{old}/{name}", f"/proc/self/fd/{new}/{name}")
    times = (status.st_mtime_ns, status.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=new, follow_symlinks=False)


def _copy_attributes(old: str, new: str) -> None:
    try:
        names = os.listxattr(old, follow_symlinks=False)
    except OSError:
        return
    for name in names:
        # A security label of the file system's own is not ours to set.
        with suppress(PermissionError):
            value = os.getxattr(old, name, follow_symlinks=False)
            os.setxattr(new, name, value, follow_symlinks=False)


def _copy_content(old: int, new: int, name: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with (
        open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=old), "rb", 0) as source,
        open(os.open(name, flags, 0o600, dir_fd=new), "wb", 0) as target,
    ):
        size = os.fstat(source.fileno()).st_size
        try:
            fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
        except OSError:
            _copy_data(source.fileno(), target.fileno(), size)


def _copy_data(source: int, target: int, size: int) -> None:
    """Copy what is written of a file; holes stay holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break  # a hole up to the end
            start = end
        end = max(os.lseek(source, start, os.SEEK_HOLE), start + 1)
        _copy_range(source, target, start, min(end, size))
    os.ftruncate(target, size)


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    os.lseek(target, start, os.SEEK_SET)
    while start < end:
        try:
            count = os.sendfile(target, source, start, end - start)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            os.lseek(source, start, os.SEEK_SET)
            _copy_pieces(source, target, end - start)
            return
        if count == 0:
            return
        start += count


def _copy_pieces(source: int, target: int, count: int) -> None:
    while count > 0 and (piece := os.read(source, min(count, _PIECE))):
        count -= len(piece)
        view = memoryview(piece)
        while view:
            view = view[os.write(target, view) :]


def next_change(directory: str) -> int:
    """A change time (ns) that all later changes on this file system have at least, none earlier.

    `directory` is where a file can be made to ask for it. Raises `OSError`.
    """
    beside = os.path.join(directory, f"time-{threading.get_ident()}")
    with open(beside, "xb") as file:
        first = os.fstat(file.fileno()).st_ctime_ns
        while (now := os.fstat(file.fileno()).st_ctime_ns) == first:
            time.sleep(_TICK_SECONDS)
            os.fchmod(file.fileno(), 0o600)
    os.unlink(beside)
    return now
