# SPDX-License-Identifier: Apache-2.0
"""Removes trees whose directories forbid it: each is made writable first.

Go's module cache and unpacked layers hold directories without write permission, which stop a plain
user's removal though every file is their own. Links are removed, never followed.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from typing import Final, Self

# Deeper directories are moved up first, so that neither the stack nor file descriptors run out.
_DEEP: Final = 64


def remove_tree(path: str) -> None:
    """Remove the file, link or directory at `path` with all it holds; nothing there is fine.

    Raises `OSError` for what cannot be removed; then a part of the tree may be gone.
    """
    parent, name = os.path.split(os.path.abspath(path))
    try:
        descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        remove_entry(descriptor, os.fsencode(name))
    finally:
        os.close(descriptor)


def remove_entry(parent: int, name: bytes) -> None:
    """Like `remove_tree`, for `name` in the open directory `parent`."""
    try:
        found = os.lstat(name, dir_fd=parent)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(name, dir_fd=parent)
        return
    with OpenDirectory(parent, name) as directory:
        removal = _Removal(directory.descriptor)
        # What was moved up meanwhile is found by the next round.
        while os.listdir(directory.descriptor):
            removal.empty(directory.descriptor, 0)
    os.rmdir(name, dir_fd=parent)


class OpenDirectory:
    """A real directory (no link) opened by name, made accessible to its owner where it was not.

    A context manager; `mode` is the mode before, or None where nothing was changed.
    """

    def __init__(self, parent: int, name: bytes) -> None:
        mode = os.lstat(name, dir_fd=parent).st_mode
        self.mode: int | None = None
        if stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
            self.mode = stat.S_IMODE(mode)
            os.chmod(name, self.mode | stat.S_IRWXU, dir_fd=parent)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        self.descriptor = os.open(name, flags, dir_fd=parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self.descriptor)


class _Removal:
    """The removal of all that `top` holds."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._numbers = itertools.count()

    def empty(self, directory: int, depth: int) -> None:
        for text in os.listdir(directory):
            name = os.fsencode(text)
            if not stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
                os.unlink(name, dir_fd=directory)
            elif depth < _DEEP:
                with OpenDirectory(directory, name) as below:
                    self.empty(below.descriptor, depth + 1)
                os.rmdir(name, dir_fd=directory)
            else:
                self._move_up(directory, name)

    def _move_up(self, directory: int, name: bytes) -> None:
        # A directory moves only where its own ".." may be written.
        with OpenDirectory(directory, name):
            for number in self._numbers:
                try:
                    # Replacing an empty directory is no loss: all of them go.
                    os.rename(name, b"%d" % number, src_dir_fd=directory, dst_dir_fd=self._top)
                except OSError as error:
                    if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                        raise
                else:
                    return
