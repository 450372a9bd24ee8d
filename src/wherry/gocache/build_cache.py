# SPDX-License-Identifier: Apache-2.0
"""GOCACHE from outside: which entries it has, and putting entries into it.

The files are those of `wherry.golang.build_entries`. Go believes an output whose size is right,
so an output is compared with its digest before it gets there; and an action is written only after
its output. Both hold beside any number of running go commands, which do the same.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import BinaryIO

from wherry.errors import MachineError, shortened
from wherry.gocache.new_files import NEW, write_all
from wherry.gocache.pack import Place
from wherry.gocache.table import BadPack, Content, Row
from wherry.golang.build_entries import (
    ACTION_SIZE,
    INDEX,
    Action,
    encode_action,
    parse_action,
    subkey,
)

_ID = re.compile(r"[0-9a-f]{64}")
# What Go keeps for one package beside its archive: what compiling and linking it printed.
_SUBKEYS = ("stdout", "link-stdout")
_DESCRIPTORS = "/proc/self/fd"
# What Go writes while it builds.
_RESERVE = 64 << 20
_SMALL = 1 << 20
_TEST_LOG = b"# test log\n"
_TEST_END = re.compile(rb"(?:\A|\n)(?:ok  \t|FAIL\t|\?   \t)[^\n]*\n\Z")


class NoRoom(MachineError):
    """The disk of the Go build cache is full, or would be."""


class BuildCache:
    """One GOCACHE; `path` is absolute. What is there is Go's own and may change at any time."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._can_link = os.path.isdir(_DESCRIPTORS)

    def rows(self, prefixes: Collection[str]) -> Iterator[tuple[str, Row]]:
        """The entries whose ids begin with `prefixes` (30 hex digits), and what belongs to them.

        Gives (prefix, row) pairs; entries whose output is not there, or is no file, are left out.
        """
        wanted = frozenset(prefixes)
        for short in sorted({prefix[:2] for prefix in wanted}):
            for name in self._names(short):
                if name[:30] in wanted and name.endswith("-a"):
                    for identity in _with_subkeys(name[:-2]):
                        row = self.row(identity)
                        if row is not None:
                            yield name[:30], row

    def row(self, identity: str) -> Row | None:
        """The entry of an action's id, None where it is not there whole."""
        try:
            with open(self._action_path(identity), "rb", buffering=0) as file:
                action = parse_action(f"{identity}-a", file.read(ACTION_SIZE + 1))
            if action is None:
                return None
            status = os.lstat(self._output_path(action.output))
        except OSError:
            return None
        if status.st_size != action.size or (status.st_mode & 0o170000) != 0o100000:
            return None
        return Row(action.id, action.output, action.size, action.time)

    def holds(self, row: Row) -> bool:
        """Whether the very entry is here."""
        found = self.row(row.key)
        return found is not None and found.content == row.content

    def open_output(self, row: Row) -> BinaryIO:
        """The bytes of an entry's output; raises `OSError` where they are gone."""
        return open(self._output_path(row.content), "rb", buffering=0)

    def is_bound(self, row: Row) -> bool:
        """Whether an entry means nothing elsewhere: Go's index of directories."""
        return self._begins(row, INDEX)

    def is_test(self, row: Row) -> bool:
        """Whether an entry is what a test printed or looked at."""
        if row.size > _SMALL:
            return False
        try:
            with self.open_output(row) as file:
                data = file.read()
        except OSError:
            return False
        return data.startswith(_TEST_LOG) or _TEST_END.search(data) is not None

    def holds_any(self, row: Row, needles: Sequence[bytes]) -> bool:
        """Whether an entry's output has one of these texts in it, or cannot be read."""
        try:
            with self.open_output(row) as file:
                data = file.read()
        except OSError:
            return True
        return any(needle in data for needle in needles)

    def lacks(self, rows: Iterable[Row]) -> tuple[tuple[Row, ...], frozenset[str]]:
        """The entries that are not there, and those of their outputs that are not there.

        An entry that is there stays, even with another output: a plain `go build` would use it.
        """
        missing = tuple(row for row in rows if self.row(_checked(row.key)) is None)
        outputs = {row.content: row.size for row in missing}
        return missing, frozenset(
            content for content, size in outputs.items() if not self._is_right(content, size)
        )

    def prepare(self) -> None:
        """Make the directories of a cache that is new; raises `MachineError`."""
        try:
            for number in range(256):
                os.makedirs(f"{self.path}/{number:02x}", exist_ok=True)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def check_room(self, size: int) -> None:
        """Raise `NoRoom` where so many bytes would leave too little for Go."""
        try:
            status = os.statvfs(self.path)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        free = status.f_bavail * status.f_frsize
        if size + size // 8 + _RESERVE > free:
            raise NoRoom("there is not enough room for it in the Go build cache",
                         why=f"it takes {size >> 20} MiB; {free >> 20} MiB are free",
                         hint="make room there, or set GOCACHE to a larger disk")  # fmt: skip

    def placing(self, came: Callable[[Content], None]) -> Place:
        """`place`, telling `came` each output."""

        def place(content: Content, chunks: Iterator[bytes]) -> None:
            self.place(content, chunks)
            came(content)

        return place

    def place(self, content: Content, chunks: Iterator[bytes]) -> None:
        """Write an output; called by several threads, beside running go commands.

        Raises `MachineError` where the disk does not take it, `BadPack` by way of `chunks`.
        """
        path = self._output_path(content.digest)
        try:
            self._appear(path, chunks)
        except OSError as error:
            raise _unwritable(path, error) from error

    def enter(self, rows: Iterable[Row]) -> int:
        """Write the actions of `rows` whose outputs are there; gives how many those are.

        Raises `MachineError` where the disk does not take them.
        """
        count = 0
        for row in rows:
            path = self._action_path(_checked(row.key))
            if not self._has_output(row.content, row.size):
                continue
            data = encode_action(Action(row.key, row.content, row.size, row.extra))
            try:
                try:
                    self._write(path, data)
                except FileExistsError:
                    self._swap(path, data)
            except OSError as error:
                raise _unwritable(path, error) from error
            count += 1
        return count

    def forget(self, rows: Iterable[Row], outputs: Iterable[str]) -> None:
        """Remove entries and outputs that were put here a moment ago: they take Go's room."""
        paths = [self._action_path(_checked(row.key)) for row in rows]
        for path in (*paths, *map(self._output_path, outputs)):
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _write(self, path: str, data: bytes) -> None:
        """Write a new file; what cannot be written whole goes again."""
        fd = os.open(path, NEW, 0o666)
        try:
            try:
                write_all(fd, data)
            finally:
                os.close(fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise

    def _swap(self, path: str, data: bytes) -> None:
        """Replace a file that has another content; Go may be writing it, too."""
        staged = _staged(path)
        self._write(staged, data)
        os.replace(staged, path)

    def _appear(self, path: str, pieces: Iterable[bytes]) -> None:
        """Write a file that gets its name once it is whole: nobody sees less of it, whoever dies.

        What is there already is replaced: Go may have it open, or be writing the same bytes.
        """
        # Without a name the kernel drops what a killed process leaves.
        fd, staged = self._unnamed(os.path.dirname(path)), ""
        if fd is None:
            staged = _staged(path)
            fd = os.open(staged, NEW, 0o666)
        try:
            try:
                for piece in pieces:
                    write_all(fd, piece)
                if not staged and not _linked(fd, path):
                    staged = _staged(path)
                    _linked(fd, staged)
            finally:
                os.close(fd)
            if staged:
                _renamed(staged, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(staged)
            raise

    def _unnamed(self, directory: str) -> int | None:
        """A new file without a name; None where that cannot be had, or not be named later."""
        if not self._can_link or not hasattr(os, "O_TMPFILE"):
            return None
        try:
            return os.open(directory, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o666)
        except OSError:
            # Not every file system has these.
            return None

    def _has_output(self, content: str, size: int) -> bool:
        try:
            status = os.lstat(self._output_path(content))
        except OSError:
            return False
        return status.st_size == size and (status.st_mode & 0o170000) == 0o100000

    def _is_right(self, content: str, size: int) -> bool:
        """Whether an output is there, by its bytes: a crash may have left others of that size."""
        if not self._has_output(content, size):
            return False
        try:
            with open(self._output_path(content), "rb", buffering=0) as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == content
        except OSError:
            return False

    def _begins(self, row: Row, start: bytes) -> bool:
        try:
            with self.open_output(row) as file:
                return file.read(len(start)) == start
        except OSError:
            return False

    def _names(self, short: str) -> list[str]:
        try:
            return sorted(os.listdir(f"{self.path}/{short}"))
        except OSError:
            return []

    def _action_path(self, identity: str) -> str:
        return f"{self.path}/{identity[:2]}/{identity}-a"

    def _output_path(self, output: str) -> str:
        return f"{self.path}/{output[:2]}/{output}-d"


def _checked(key: str) -> str:
    """The key; raises `BadPack` for one that could lead anywhere else."""
    if not _ID.fullmatch(key):
        raise BadPack("a pack names an entry that is none of Go's", why=repr(key)[:80])
    return key


def _with_subkeys(identity: str) -> list[str]:
    return [identity, *(subkey(identity, description) for description in _SUBKEYS)]


def _staged(path: str) -> str:
    # With this ending Go's own trimming removes what a killed process leaves.
    return f"{path[:-2]}.{os.getpid()}-{os.urandom(4).hex()}{path[-2:]}"


def _linked(fd: int, path: str) -> bool:
    """Give an unnamed file its name; False where something has that."""
    try:
        # Only with a directory's descriptor, which this path does not need, are links followed.
        os.link(f"{_DESCRIPTORS}/{fd}", path, src_dir_fd=fd, follow_symlinks=True)
    except FileExistsError:
        return False
    return True


def _renamed(staged: str, path: str) -> None:
    try:
        os.replace(staged, path)
    except IsADirectoryError:
        # The same bytes as a program of `go run`, which lies in a directory: Go's own, and kept.
        os.unlink(staged)


def _unwritable(path: str, error: OSError) -> MachineError:
    kind = NoRoom if error.errno in (errno.ENOSPC, errno.EDQUOT) else MachineError
    return kind("the Go build cache cannot be written",
                        why=shortened(f"{path}: {error.strerror or error}"),
                        hint="check GOCACHE, and the space on its disk")  # fmt: skip
