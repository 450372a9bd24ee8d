# SPDX-License-Identifier: Apache-2.0
"""Files of a build context or download as a real directory, for a RUN to see.

They are copied: what ignore rules hide stays hidden, what the user saves meanwhile is not seen, and
what the step writes there is lost. Owners are the user's own, who is root in the namespace.
"""

from __future__ import annotations

import os
import shutil
from typing import Final

from wherry.errors import BuildError, MachineError
from wherry.fstree.contents import open_content
from wherry.fstree.files import Files
from wherry.fstree.resolve import resolve
from wherry.fstree.tree import Directory, Entry, File, HardLink, Special, Symlink
from wherry.process.cancel import CancelToken

_BUFFER: Final = 1 << 20


def lend(files: Files, path: str, target: str, cancel: CancelToken) -> None:
    """Copy what lies at `path` to `target`, which does not exist.

    Links in `path` are followed inside the tree. Raises `BuildError` where nothing is there,
    `MachineError` where it cannot be written.
    """
    real = resolve(files, path.strip("/"))
    top = files.entry(real)
    if top is None:
        raise BuildError(f"there is no /{path.strip('/')} to mount")
    try:
        _Copying(files, cancel).put(top, target)
    except OSError as error:
        raise MachineError(
            f"cannot copy /{real} for a mount", why=error.strerror or str(error),
            hint="check the free space of the store's disk",
        ) from error  # fmt: skip


class _Copying:
    """One copy; names of one file become hard links again."""

    def __init__(self, files: Files, cancel: CancelToken) -> None:
        self._files = files
        self._cancel = cancel
        self._known: dict[int, str] = {}

    def put(self, top: Entry, target: str) -> None:
        todo = [(top, target)]
        directories: list[tuple[Directory, str]] = []
        while todo:
            self._cancel.check()
            entry, place = todo.pop()
            if isinstance(entry, Directory):
                os.mkdir(place, 0o700)
                directories.append((entry, place))
                for name in self._files.names(entry.path):
                    below = self._files.entry(f"{entry.path}/{name}" if entry.path else name)
                    if below is not None:
                        todo.append((below, f"{place}/{name}"))
            else:
                self._put_leaf(entry, place)
        # Last and deepest first: a closed directory could not be filled.
        for directory, place in reversed(directories):
            os.chmod(place, directory.mode)
            _set_time(place, directory.mtime)

    def _put_leaf(self, entry: Entry, place: str) -> None:
        match entry:
            case Symlink():
                os.symlink(entry.target, place)
                _set_time(place, entry.mtime)
            case File():
                self._put_file(entry, place)
            case Special(kind="fifo"):
                os.mkfifo(place, entry.mode)
            case Special() | Directory() | HardLink():
                # Devices of a context are nothing that a step could open.
                return

    def _put_file(self, file: File, place: str) -> None:
        known = self._known.get(file.inode) if file.inode else None
        if known is not None:
            os.link(known, place)
            return
        with open_content(file.content) as source, open(place, "xb") as copy:
            shutil.copyfileobj(source, copy, _BUFFER)
            os.fchmod(copy.fileno(), file.mode)
        _set_time(place, file.mtime)
        if file.inode:
            self._known[file.inode] = place


def _set_time(place: str, mtime: int | None) -> None:
    if mtime is not None:
        os.utime(place, (mtime, mtime), follow_symlinks=False)
