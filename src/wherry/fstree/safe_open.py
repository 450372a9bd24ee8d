# SPDX-License-Identifier: Apache-2.0
"""Files below a live directory, opened so that no link leads out of it.

Others may change the directory while it is read: between two looks a file becomes a link or a pipe.
So every component is opened by itself, relative to the open directory before it, and links are
never followed (O_NOFOLLOW works in every component this way, on Linux and macOS alike). Nothing
here waits: pipes are opened without their other end, and turned down by whoever asked for a file.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from wherry.errors import BuildError, UsageError
from wherry.process.clock import is_local

_QUIET: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | _QUIET
# Nobody nests so deep in earnest; each level costs a call, for every directory below it.
_DEEPEST: Final = 1000


class OpenRoot:
    """The directory at `root`, held open until `close`; safe for threads.

    `root` itself may be a link: the user named it. Raises `UsageError` where it cannot be opened.
    """

    def __init__(self, root: str) -> None:
        try:
            self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", "") or str(error)
            raise UsageError(f"cannot open the directory {root}", why=why) from None
        self._path = root
        self._is_local: bool | None = None
        self._lock = threading.Lock()
        # The directory that was used last, since files are read directory by directory.
        self._last = ("", self._root)

    def close(self) -> None:
        """Close it; nothing can be opened afterwards."""
        with self._lock:
            self._forget()
            if self._root >= 0:
                os.close(self._root)
            self._root = -1
            self._last = ("", -1)

    def status(self) -> os.stat_result:
        """The root's own status."""
        return os.fstat(self._root)

    @property
    def is_local(self) -> bool:
        """Whether this machine's clock stamps its files; False where unclear."""
        if self._is_local is None:
            self._is_local = is_local(self._path)
        return self._is_local

    @contextmanager
    def directory(self, path: str) -> Iterator[int]:
        """The open directory at `path`, valid in the block only; `path` is normal.

        Raises `OSError`; a link or file on the way is one, too.
        """
        with self._lock:
            yield self._descend(path)

    def file(self, path: str) -> int:
        """A descriptor for reading what lies at `path`, closed by the caller.

        It may be of anything but a link: the caller asks what. Raises `OSError`.
        """
        parent, _, name = path.rpartition("/")
        with self.directory(parent) as place:
            return os.open(name, os.O_RDONLY | _QUIET, dir_fd=place)

    def _descend(self, path: str) -> int:
        if self._last[0] == path:
            return self._last[1]
        if path.count("/") >= _DEEPEST:
            raise OSError(errno.ENAMETOOLONG, f"it is nested deeper than {_DEEPEST} directories")
        current = os.dup(self._root)
        try:
            for name in path.split("/") if path else ():
                inner = os.open(name, _DIRECTORY, dir_fd=current)
                os.close(current)
                current = inner
        except BaseException:
            os.close(current)
            raise
        self._forget()
        self._last = (path, current)
        return current

    def _forget(self) -> None:
        if self._last[1] != self._root:
            os.close(self._last[1])
            self._last = ("", self._root)


def changed(path: str) -> BuildError:
    """The error for a file that is not what it was when it was looked at first."""
    return BuildError(
        f"{path} changed while it was read",
        why="something writes to the build context",
        hint="run the build again, or keep what changes out of it with .dockerignore",
    )


def unreadable(path: str, error: OSError) -> BuildError:
    """The error for what cannot be read, or is not there any more."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EINVAL):
        return changed(path)
    return BuildError(
        f"cannot read {path or 'the build context'}",
        why=error.strerror or str(error),
        hint="make it readable, or keep it out of the build context with .dockerignore",
    )
