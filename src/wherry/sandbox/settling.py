# SPDX-License-Identifier: Apache-2.0
"""Makes a step's snapshot say exactly what the step changed.

overlayfs copies a file up as soon as somebody opens it for writing, and all directories above it;
a copied tree holds everything. Both are compared with what was there before: what has the same
metadata and content is no change (a directory's time alone is none: as in containerd, and what is
in it shows it anyway). So equal steps give equal changes in both kinds.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from wherry.sandbox.exchange import Scanned
from wherry.sandbox.scanning import (
    check_depth,
    compared_attributes,
    describe,
    is_opaque,
    is_whiteout,
    open_directory,
)
from wherry.sandbox.step_spec import Change
from wherry.sandbox.tree_copy import Copied, identity

_PIECE: Final = 1 << 18
_BLOCK: Final = 512  # the unit of st_blocks


def settle_overlay(
    top: str, below: str, opaque: str, closed: Callable[[str], bool] | None = None
) -> Change:
    """Take what is no change out of the upper directory `top`.

    `below` is the tree of the lower directories, `opaque` the name of overlay's attribute, which
    new directories get that are `closed`, by their paths. Raises `OSError`.
    """
    settling = _Upper(opaque, closed)
    with open_directory(top) as upper, open_directory(below) as lower:
        settling.directory(upper, lower, "")
    return Change(settling.is_empty, settling.size)


def settle_whole(top: str, below: str, copied: Copied, changes: str) -> Change:
    """Write what differs between the trees `below` and `top` to the file `changes`.

    `copied` is what `top` was at first. The size is that of the whole tree. Raises `OSError`.
    """
    comparing = _Comparing(copied)
    with open_directory(top) as new, open_directory(below) as old:
        is_original = copied.directories.get("") == identity(new)
        comparing.directory(new, old, "", is_original=is_original)
    rows = _with_links(comparing.rows)
    with open(changes, "xb") as file:
        file.writelines(row.as_line() for row in rows)
    return Change(not rows, comparing.size)


class _Sizes:
    """Bytes on the disk, files with several names once."""

    def __init__(self) -> None:
        self.total = 0
        self._seen: set[int] = set()

    def add(self, status: os.stat_result) -> None:
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if status.st_ino in self._seen:
                return
            self._seen.add(status.st_ino)
        self.total += status.st_blocks * _BLOCK


class _Upper:
    """One upper directory being settled."""

    def __init__(self, opaque: str, closed: Callable[[str], bool] | None) -> None:
        self._opaque = opaque
        self._closed = closed
        self._sizes = _Sizes()
        self.is_empty = True

    @property
    def size(self) -> int:
        return self._sizes.total

    def directory(self, upper: int, lower: int | None, path: str) -> bool:
        """Settle what the open directory `upper` holds; returns whether that is nothing."""
        check_depth(path)
        names = os.listdir(upper)
        kept = sum(self._keep(upper, lower, name, f"{path}/{name}") for name in names)
        return kept == 0

    def _keep(self, upper: int, lower: int | None, name: str, path: str) -> bool:
        status = os.lstat(name, dir_fd=upper)
        before = _lstat(lower, name)
        if stat.S_ISDIR(status.st_mode):
            if not self._keep_directory(upper, lower, name, path):
                os.rmdir(name, dir_fd=upper)
                return False
        elif _is_needless(upper, lower, name, status, before):
            os.unlink(name, dir_fd=upper)
            if not _is_socket(status) or before is None or _is_socket(before):
                return False
            # What it replaced is gone all the same.
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=upper)
        self.is_empty = False
        self._sizes.add(status)
        return True

    def _keep_directory(self, upper: int, lower: int | None, name: str, path: str) -> bool:
        before = _lstat(lower, name)
        with ExitStack() as stack:
            inner = stack.enter_context(open_directory(name, upper))
            below = None
            if lower is not None and before is not None and stat.S_ISDIR(before.st_mode):
                below = stack.enter_context(open_directory(name, lower))
            if below is None and self._closed is not None and self._closed(path):
                os.setxattr(inner, self._opaque, b"y")
            elif is_opaque(inner, self._opaque):
                if below is not None:
                    self.directory(inner, None, path)
                    return True
                # The kernel marks every new directory; only this one's meaning is the mark's.
                os.removexattr(inner, self._opaque)
            is_nothing = self.directory(inner, below, path)
            if not is_nothing or below is None or before is None:
                return True
            return not _is_same_directory(upper, lower, name, os.fstat(inner), before)


class _Comparing:
    """Two whole trees being compared."""

    def __init__(self, copied: Copied) -> None:
        self._copied = copied
        self._sizes = _Sizes()
        self.rows: list[Scanned] = []

    @property
    def size(self) -> int:
        return self._sizes.total

    def directory(self, new: int, old: int | None, path: str, *, is_original: bool) -> None:
        """Compare what two open directories hold; without `old` all of it is new."""
        check_depth(path)
        names = set(os.listdir(new))
        gone = set() if old is None else set(os.listdir(old)) - names
        for name in sorted(names | gone):
            here = f"{path}/{name}" if path else name
            if name not in gone:
                self._compare(new, old, name, here, is_original=is_original)
            elif not _is_socket(_lstat(old, name)):
                self.rows.append(Scanned(here, "whiteout"))

    def _compare(
        self, new: int, old: int | None, name: str, path: str, *, is_original: bool
    ) -> None:
        status = os.lstat(name, dir_fd=new)
        before = _lstat(old, name)
        if stat.S_ISDIR(status.st_mode):
            self._sizes.add(status)
            self._compare_directory(new, old, name, path)
            return
        if stat.S_ISSOCK(status.st_mode):
            os.unlink(name, dir_fd=new)
            if before is not None and not _is_socket(before):
                self.rows.append(Scanned(path, "whiteout"))
            return
        self._sizes.add(status)
        if is_original and before is not None and status.st_ctime_ns < self._copied.changed_ns:
            return
        if not _is_needless(new, old, name, status, before):
            self.rows.append(describe(new, name, path, status))

    def _compare_directory(self, new: int, old: int | None, name: str, path: str) -> None:
        before = _lstat(old, name)
        with ExitStack() as stack:
            inner = stack.enter_context(open_directory(name, new))
            below = None
            if old is not None and before is not None and stat.S_ISDIR(before.st_mode):
                below = stack.enter_context(open_directory(name, old))
            status = os.fstat(inner)
            is_original = self._copied.directories.get(path) == identity(inner)
            opaque = below is not None and not is_original
            row = describe(new, name, path, status)
            first = len(self.rows)
            self.rows.append(row._replace(opaque=opaque))
            self.directory(inner, None if opaque else below, path, is_original=is_original)
            if len(self.rows) > first + 1 or opaque or below is None or before is None:
                return
            if _is_same_directory(new, old, name, status, before):
                del self.rows[first]


def _with_links(rows: list[Scanned]) -> list[Scanned]:
    """Inode numbers only where the change holds several names of one file."""
    counts = Counter(row.inode for row in rows)
    return [row if counts[row.inode] > 1 else row._replace(inode=0) for row in rows]


def _lstat(directory: int | None, name: str) -> os.stat_result | None:
    if directory is None:
        return None
    try:
        return os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return None


def _is_socket(status: os.stat_result | None) -> bool:
    return status is not None and stat.S_ISSOCK(status.st_mode)


def _is_needless(
    new: int, old: int | None, name: str, status: os.stat_result, before: os.stat_result | None
) -> bool:
    """Whether `name`, no directory, says nothing: it is as before, or hides nothing."""
    if is_whiteout(status):
        return before is None
    # No layer holds sockets, and nobody listens to one that a step left.
    if stat.S_ISSOCK(status.st_mode):
        return True
    if old is None or before is None or not _has_same_facts(status, before):
        return False
    if stat.S_ISLNK(status.st_mode):
        if os.readlink(name, dir_fd=new) != os.readlink(name, dir_fd=old):
            return False
    elif stat.S_ISREG(status.st_mode) and not _has_same_content(new, old, name):
        return False
    return compared_attributes(new, name) == compared_attributes(old, name)


def _has_same_facts(status: os.stat_result, before: os.stat_result) -> bool:
    return all(
        getattr(status, field) == getattr(before, field)
        for field in ("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_rdev")
    )


def _is_same_directory(
    new: int, old: int | None, name: str, status: os.stat_result, before: os.stat_result
) -> bool:
    facts = ((item.st_mode, item.st_uid, item.st_gid) for item in (status, before))
    is_equal = len(set(facts)) == 1
    if not is_equal or old is None:
        return False
    return compared_attributes(new, name) == compared_attributes(old, name)


def _has_same_content(new: int, old: int, name: str) -> bool:
    """Whether two files of the same size hold the same; what is a hole in both is not read."""
    flags = os.O_RDONLY | os.O_NOFOLLOW
    with (
        open(os.open(name, flags, dir_fd=new), "rb", 0) as first,
        open(os.open(name, flags, dir_fd=old), "rb", 0) as second,
    ):
        descriptors = (first.fileno(), second.fileno())
        offset = 0
        while True:
            offset = min(_next_data(descriptor, offset) for descriptor in descriptors)
            piece, other = (os.pread(descriptor, _PIECE, offset) for descriptor in descriptors)
            if piece != other:
                return False
            if not piece:
                return True
            offset += len(piece)


def _next_data(descriptor: int, offset: int) -> int:
    """The first place from `offset` on that is no hole; the file's size where all is one."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as error:
        # A file system may know of no holes.
        return os.fstat(descriptor).st_size if error.errno == errno.ENXIO else offset
