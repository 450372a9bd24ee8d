# SPDX-License-Identifier: Apache-2.0
"""Paths resolved inside a root directory, as if it were `/`.

A layer's entry may pass through links that lower layers put there (`var/run` through `/run`), and a
hostile one through links made to lead outside. So each component is opened by itself, relative to
the open directory before it, and links are followed by hand: absolute targets begin at the root
again and `..` stops there. No path given here can name anything outside.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple, Self

from wherry.errors import UsageError
from wherry.fstree.removal import OpenDirectory

Path = tuple[bytes, ...]

_LINKS: Final = 40
_DEPTH: Final = 256
_NEW: Final = 0o755


class Place(NamedTuple):
    """`name` in the open, real directory `directory`, whose path below the root is `parents`.

    There may be nothing at `name`, or a link; whoever acts there must not follow it.
    """

    directory: int
    parents: Path
    name: bytes

    @property
    def path(self) -> Path:
        """The resolved path below the root."""
        return (*self.parents, self.name)

    def kind(self) -> int:
        """The file type bits of what is there; 0 for nothing."""
        try:
            return stat.S_IFMT(os.lstat(self.name, dir_fd=self.directory).st_mode)
        except FileNotFoundError:
            return 0


class RootedTree:
    """The directory tree at `root`; a context manager.

    `changed` holds the modes of directories that were made accessible to be passed, and of those
    that were missing: its owner sets them in the end.
    """

    def __init__(self, root: str) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        self.changed: dict[Path, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._root)

    @contextmanager
    def place(self, path: Path, *, create: bool) -> Iterator[Place]:
        """Resolve all of `path` but its last component.

        With `create` missing directories are made, else they raise `FileNotFoundError`. A file
        where a directory must be, links in a circle and absurd depth raise `UsageError`.
        """
        directory, parents = self._walk(path[:-1], create)
        try:
            yield Place(directory, parents, path[-1])
        finally:
            os.close(directory)

    @contextmanager
    def directory(self, path: Path) -> Iterator[int]:
        """Open a directory by its resolved path; a link in it raises `OSError`."""
        descriptor = self._open(path)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _walk(self, path: Path, create: bool) -> tuple[int, Path]:
        done: Path = ()
        todo = list(reversed(path))
        links = 0
        current = os.dup(self._root)
        try:
            while todo:
                part = todo.pop()
                if part in (b"", b"."):
                    continue
                if part == b"..":
                    done = done[:-1]
                    current = _replaced(current, self._open(done))
                    continue
                place = Place(current, done, part)
                if place.kind() == stat.S_IFLNK:
                    links += 1
                    target = os.readlink(part, dir_fd=current)
                    if target.startswith(b"/"):
                        done = ()
                        current = _replaced(current, os.dup(self._root))
                    todo.extend(reversed(target.split(b"/")))
                else:
                    current = _replaced(current, self._enter(place, create))
                    done = place.path
                _check_bounds(path, links, len(done))
        except BaseException:
            os.close(current)
            raise
        return current, done

    def _enter(self, place: Place, create: bool) -> int:
        kind = place.kind()
        if kind == 0 and create:
            os.mkdir(place.name, 0o700, dir_fd=place.directory)
            self.changed[place.path] = _NEW
        elif kind not in (0, stat.S_IFDIR):
            raise UsageError(f"/{_text(place.path)} is a file and a directory at once")
        opened = OpenDirectory(place.directory, place.name)
        if opened.mode is not None:
            self.changed.setdefault(place.path, opened.mode)
        return opened.descriptor

    def _open(self, path: Path) -> int:
        current = os.dup(self._root)
        try:
            for name in path:
                current = _replaced(current, OpenDirectory(current, name).descriptor)
        except BaseException:
            os.close(current)
            raise
        return current


def _replaced(old: int, new: int) -> int:
    os.close(old)
    return new


def _check_bounds(path: Path, links: int, depth: int) -> None:
    if links > _LINKS or depth > _DEPTH:
        raise UsageError(f"/{_text(path)} passes too many links or directories")


def _text(path: Path) -> str:
    return b"/".join(path).decode("utf-8", "surrogateescape")
