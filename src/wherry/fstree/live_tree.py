# SPDX-License-Identifier: Apache-2.0
"""A live directory from which files are chosen: looked at once, read without following any link.

Everything that was looked at is noted, so that a build record can tell whether another look would
find the same. A content's digest is found when it is first looked at; whoever opens it later gets
the bytes of that digest or an error, never another file that came in its place meanwhile.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from functools import partial
from typing import BinaryIO, Final, Self

from wherry.errors import BuildError, UsageError
from wherry.fstree.safe_open import OpenRoot
from wherry.fstree.tree import Opened
from wherry.oci.digest import Digest
from wherry.process.clock import RACY_NS, file_clock_ns

Statuses = Mapping[str, os.stat_result]

_BLOCK: Final = 1 << 18
# Errors that say: it is not there, or not what it was.
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


class LiveTree:
    """The directory `root` (an absolute path); a context manager, not safe for threads.

    `check` is called between two looks and may raise `Cancelled`. Paths are relative and normal,
    the empty one is `root` itself. Raises `UsageError` where there is no such directory; reading
    raises `BuildError` for what cannot be read or changed meanwhile. What was looked at so far, by
    path: `read` are the statuses of files and `digests` those of their contents, `settled` the
    files whose status would show a later change, `links` the targets of links, `leads` the real,
    absolute paths of what was reached through links.
    """

    def __init__(self, root: str, check: Callable[[], None]) -> None:
        self.root = root
        self.real_root = os.path.realpath(root)
        self.read: dict[str, os.stat_result] = {}
        self.digests: dict[str, Digest] = {}
        self.settled: set[str] = set()
        self.links: dict[str, str] = {}
        self.leads: dict[str, str] = {}
        self._open = OpenRoot(root)
        self._check = check
        self._listings: dict[str, dict[str, os.stat_result]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._open.close()

    @property
    def listed(self) -> tuple[str, ...]:
        """The directories whose names were read."""
        return tuple(self._listings)

    def absolute(self, path: str) -> str:
        """Where `path` lies on this machine."""
        return os.path.join(self.root, path) if path else self.root

    def status(self, path: str) -> os.stat_result | None:
        """What lies at `path`, links not followed; None for nothing."""
        if not path:
            return self._open.status()
        parent, _, name = path.rpartition("/")
        known = self._listings.get(parent)
        if known is not None:
            return known.get(name)
        try:
            with self._open.directory(parent) as place:
                return os.stat(name, dir_fd=place, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise unreadable(path, error) from None

    def children(self, path: str) -> Statuses:
        """What the directory `path` holds, sorted by name."""
        known = self._listings.get(path)
        if known is not None:
            return known
        self._check()
        found: dict[str, os.stat_result] = {}
        try:
            with self._open.directory(path) as place, os.scandir(place) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    found[entry.name] = entry.stat(follow_symlinks=False)
        except OSError as error:
            raise unreadable(path, error) from None
        self._listings[path] = found
        return found

    def link(self, path: str) -> str:
        """The target of the symbolic link at `path`, as it is written."""
        if path not in self.links:
            parent, _, name = path.rpartition("/")
            try:
                with self._open.directory(parent) as place:
                    self.links[path] = os.readlink(name, dir_fd=place)
            except OSError as error:
                raise unreadable(path, error) from None
        return self.links[path]

    def real(self, path: str) -> str | None:
        """The absolute path that `path` leads to with all links followed; None for nothing.

        Raises `UsageError` for links in a circle. It may be outside: see `inside`.
        """
        absolute = self.absolute(path)
        try:
            found = os.path.realpath(absolute, strict=True)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UsageError(f"cannot follow {path!r}", why="links lead in a circle",
                                 hint="mend the links") from None  # fmt: skip
            raise unreadable(path, error) from None
        if found != os.path.join(self.real_root, path).rstrip("/"):
            self.leads[path] = found
        return found

    def inside(self, real: str) -> str | None:
        """The path below the root of what lies at the real path `real`; None for outside."""
        if real == self.real_root:
            return ""
        prefix = self.real_root.rstrip("/") + "/"
        return real.removeprefix(prefix) if real.startswith(prefix) else None

    def content(self, path: str, status: os.stat_result) -> Opened:
        """The content of the regular file at `path`, whose status was `status`; read here."""
        if path not in self.digests:
            self._check()
            if max(status.st_mtime_ns, status.st_ctime_ns) < file_clock_ns() - RACY_NS:
                self.settled.add(path)
            self.digests[path] = self._digest(path, status)
            self.read[path] = status
        opener = partial(_open_again, self.root, path)
        return Opened(opener, status.st_size, self.digests[path])

    def _digest(self, path: str, status: os.stat_result) -> Digest:
        try:
            descriptor = self._open.file(path)
        except OSError as error:
            raise unreadable(path, error) from None
        try:
            if _state(os.fstat(descriptor)) != _state(status):
                raise changed(path)
            hasher = hashlib.sha256()
            # By one byte more than it should have, so that one that grows for ever ends.
            left = status.st_size + 1
            while left > 1 and (piece := os.read(descriptor, min(left, _BLOCK))):
                hasher.update(piece)
                left -= len(piece)
                if left > _BLOCK:
                    self._check()
            if left != 1 or _state(os.fstat(descriptor)) != _state(status):
                raise changed(path)
        except OSError as error:
            raise unreadable(path, error) from None
        finally:
            os.close(descriptor)
        return Digest("sha256", hasher.hexdigest())


def changed(path: str) -> BuildError:
    """The error for a file that is not what it was when it was looked at first."""
    return BuildError(
        f"{path!r} changed while it was read for the image",
        why="something writes to the files that wherry.toml takes into the image",
        hint="leave them alone while the build runs, and build again",
    )


def unreadable(path: str, error: OSError) -> BuildError:
    """The error for what cannot be read, or is not there any more."""
    if error.errno in _GONE:
        return changed(path)
    return BuildError(
        f"cannot read {path or 'the directory'!r} for the image",
        why=error.strerror or str(error),
        hint="make it readable for you, or take it out of `files` in wherry.toml",
    )


def kind_of(status: os.stat_result) -> str:
    """What a status is of, for people: `a named pipe`."""
    names = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a directory",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return names.get(stat.S_IFMT(status.st_mode), "no file")


def refuse_special(path: str, status: os.stat_result) -> UsageError:
    """The error for what is neither file, directory nor link."""
    return UsageError(
        f"cannot take {path!r} into the image",
        why=f"it is {kind_of(status)}",
        hint="take only files, directories and symbolic links",
    )


def _state(status: os.stat_result) -> tuple[int, ...]:
    """What changes with the content; the type of the file is part of the mode."""
    return (
        status.st_mode,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
        status.st_dev,
    )


def _open_again(root: str, path: str) -> BinaryIO:
    """The regular file at `path` for reading: its digest is for the reader to check."""
    opened = OpenRoot(root)
    try:
        descriptor = opened.file(path)
    except OSError as error:
        raise unreadable(path, error) from None
    finally:
        opened.close()
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise changed(path)
    return os.fdopen(descriptor, "rb")
