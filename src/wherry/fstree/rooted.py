# SPDX-License-Identifier: Apache-2.0
"""Paths resolved inside a root directory, as if it were `/`.

A layer's entry may pass through links that lower layers put there (`var/run` through `/run`), and a
hostile one through links made to lead outside. So each component is opened by itself, relative to
the open directory before it, and links are followed by hand: absolute targets begin at the root
again and `..` stops there. No path given here can name anything outside.

Entries that follow each other mostly lie in the same directory, so the last directories stay open,
each with all that was passed on the way to it: removing any of that makes the next entry find its
way anew. What is made cannot change a way that was found, for nothing was missing on it. Hence all
removal is done here, and nobody else may change the tree meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple, Self

from wherry.errors import UsageError
from wherry.fstree.removal import OpenDirectory, remove_entry

Path = tuple[bytes, ...]

_LINKS: Final = 40
_DEPTH: Final = 256
_NEW: Final = 0o755
# Directories kept open: those above the last entry, and of a few that its links name.
_KEPT: Final = 16


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


class _Way(NamedTuple):
    """A directory that a path led to.

    `passed` are the resolved paths of all directories and links on the way, itself included; with
    a path it holds every directory above it.
    """

    descriptor: int
    resolved: Path
    links: int
    passed: frozenset[Path]


class RootedTree:
    """The directory tree at `root`; a context manager, which nobody else changes meanwhile.

    `changed` holds the modes of directories that were made accessible to be passed, and of those
    that were missing: its owner sets them in the end.
    """

    def __init__(self, root: str) -> None:
        self._root = _Way(os.open(root, os.O_RDONLY | os.O_DIRECTORY), (), 0, frozenset())
        self.changed: dict[Path, int] = {}
        # By the path that was asked for, the one used last at the end.
        self._ways: dict[Path, _Way] = {}
        # No longer true, or one too many; closed when no place is in use.
        self._left: list[int] = []
        self._in_use = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._left.extend(way.descriptor for way in self._ways.values())
        self._ways.clear()
        self._close_left()
        os.close(self._root.descriptor)

    @contextmanager
    def place(self, path: Path, *, create: bool) -> Iterator[Place]:
        """Resolve all of `path` but its last component.

        With `create` missing directories are made, else they raise `FileNotFoundError`. A file
        where a directory must be, links in a circle and absurd depth raise `UsageError`.
        """
        self._in_use += 1
        try:
            way = self._way(path[:-1], create)
            yield Place(way.descriptor, way.resolved, path[-1])
        finally:
            self._in_use -= 1
            if self._left and not self._in_use:
                self._close_left()

    @contextmanager
    def directory(self, path: Path) -> Iterator[int]:
        """Open a directory by its resolved path; a link in it raises `OSError`."""
        if not path:
            yield self._root.descriptor
            return
        with self.place(path, create=False) as place:
            if place.parents != path[:-1]:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), _text(path))
            with OpenDirectory(place.directory, place.name) as opened:
                yield opened.descriptor

    def remove(self, place: Place) -> None:
        """Remove what is at `place` with all that it holds; nothing there is fine."""
        path = place.path
        below = len(path)
        for known in [known for known in self.changed if known[:below] == path]:
            del self.changed[known]
        for asked in [asked for asked, way in self._ways.items() if path in way.passed]:
            self._left.append(self._ways.pop(asked).descriptor)
        remove_entry(place.directory, place.name)

    def _close_left(self) -> None:
        while self._left:
            os.close(self._left.pop())

    def _way(self, path: Path, create: bool) -> _Way:
        """The way to the directory `path`, which stays this tree's to close."""
        if not path:
            return self._root
        if (way := self._ways.pop(path, None)) is None:
            way = self._walk(path, create)
            if len(self._ways) == _KEPT:
                self._left.append(self._ways.pop(next(iter(self._ways))).descriptor)
        self._ways[path] = way
        return way

    def _walk(self, path: Path, create: bool) -> _Way:
        """Go to `path`, from the nearest directory above that is open."""
        known = next((end for end in range(len(path) - 1, 0, -1) if path[:end] in self._ways), 0)
        start = self._ways[path[:known]] if known else self._root
        done, links, passed = start.resolved, start.links, set(start.passed)
        todo = list(reversed(path[known:]))
        current = os.dup(start.descriptor)
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
                kind = place.kind()
                if kind == stat.S_IFLNK:
                    links += 1
                    target = os.readlink(part, dir_fd=current)
                    if target.startswith(b"/"):
                        done = ()
                        current = _replaced(current, os.dup(self._root.descriptor))
                    todo.extend(reversed(target.split(b"/")))
                else:
                    current = _replaced(current, self._enter(place, kind, create))
                    done = place.path
                passed.add(place.path)
                _check_bounds(path, links, len(done))
        except BaseException:
            os.close(current)
            raise
        return _Way(current, done, links, frozenset(passed))

    def _enter(self, place: Place, kind: int, create: bool) -> int:
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
        current = os.dup(self._root.descriptor)
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
