# SPDX-License-Identifier: Apache-2.0
"""A live directory as files to copy from: a build context, seen through its ignore rules.

What BuildKit's client sends of a directory decides what is here: everything belongs to 0:0, modes
and times are the files', sockets become empty files, pipes and devices stay what they are, extended
attributes do not come along (BuildKit sets them and loses them again when it sets the owner). A
file's digest is found when it is asked for, and remembered by its status.

What was looked at first counts: a file that is another one when it is read is an error, so that a
result never mixes two states of the directory.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Collection
from contextlib import suppress
from typing import Final, Literal, Self

from wherry.errors import WherryError
from wherry.fstree.ignore import IgnoreRules
from wherry.fstree.live import LiveContent, LiveContents
from wherry.fstree.memo import FileMemo
from wherry.fstree.safe_open import OpenRoot, unreadable
from wherry.fstree.scan import Scan
from wherry.fstree.signature import signature
from wherry.fstree.tree import Directory, Entry, File, Inline, Special, Symlink
from wherry.oci.digest import Digest
from wherry.process.cancel import CancelToken

_SPECIAL: Final[dict[int, Literal["char", "block", "fifo"]]] = {
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
}
_EMPTY: Final = Inline(b"")
_NANOSECONDS: Final = 1_000_000_000


class DirectoryFiles:
    """Implements `wherry.fstree.files.Files` for the directory `root`; safe for threads.

    Contents that it gave can be read until `close`. `memo` keeps digests between builds. Paths of
    `without` are not there, whatever the rules say. Raises `UsageError` where there is no such
    directory; reading raises `BuildError` for what cannot be read or changed meanwhile, and
    `Cancelled`.
    """

    def __init__(
        self,
        root: str,
        rules: IgnoreRules,
        memo: FileMemo,
        cancel: CancelToken,
        without: Collection[str] = (),
    ) -> None:
        self._root = OpenRoot(root)
        self._rules = rules
        self._without = without
        self._cancel = cancel
        self._lock = threading.Lock()
        self._scan = Scan(self._root, rules, cancel, without)
        self._links: dict[str, str] = {}
        self._contents = LiveContents(self._root, memo, self._scan.is_settled, cancel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Keep the digests that were found, and close the directory."""
        try:
            with self._lock, suppress(WherryError):
                # Only an aid to speed.
                self._contents.save(self._scan.may_be_there)
        finally:
            self._root.close()

    def entry(self, path: str) -> Entry | None:
        """What lies at `path`; None for what is not there, or is hidden by the ignore rules."""
        with self._lock:
            status = self._scan.status(path)
            return None if status is None else self._entry(path, status)

    def names(self, path: str) -> tuple[str, ...]:
        """The names in the directory `path`, sorted; none for what is no directory."""
        with self._lock:
            return tuple(sorted(self._scan.listing(path)))

    def digest(self, file: File) -> Digest:
        """The digest of a file's content; `file` is one that `entry` gave."""
        return file.content.digest

    def seen(self, prefixes: tuple[str, ...]) -> str | None:
        """As `signature`, of what was looked at first, which is what `entry` gives."""
        with self._lock:
            return signature(self._scan, prefixes, self._read_link)

    def signature(self, prefixes: tuple[str, ...]) -> str | None:
        """A digest of all that can be seen at and below `prefixes`, without contents.

        It is the same only if a copy from there would find the same; where links lead counts too.
        None where a file was changed so recently that its status proves nothing. Once contents
        were read, everything is looked at anew.
        """
        with self._lock:
            scan = self._scan
            if self._contents.was_read:
                scan = Scan(self._root, self._rules, self._cancel, self._without)
            return signature(scan, prefixes, self._read_link)

    def _entry(self, path: str, status: os.stat_result) -> Entry:
        kind = stat.S_IFMT(status.st_mode)
        mode = stat.S_IMODE(status.st_mode)
        mtime = status.st_mtime_ns // _NANOSECONDS
        if kind == stat.S_IFREG:
            # One number may be used on several file systems that are mounted in here.
            inode = status.st_ino | status.st_dev << 64 if status.st_nlink > 1 else 0
            content = LiveContent(self._contents, path, status)
            return File(path, content, mode, mtime=mtime, inode=inode)
        if kind == stat.S_IFDIR:
            return Directory(path, mode, mtime=mtime)
        if kind == stat.S_IFLNK:
            return Symlink(path, self._read_link(path), mtime=mtime)
        if kind == stat.S_IFSOCK:
            return File(path, _EMPTY, mode, mtime=mtime)
        device = status.st_rdev
        return Special(path, _SPECIAL[kind], os.major(device), os.minor(device), mode, mtime=mtime)

    def _read_link(self, path: str) -> str:
        known = self._links.get(path)
        if known is None:
            parent, _, name = path.rpartition("/")
            try:
                with self._root.directory(parent) as place:
                    known = os.readlink(name, dir_fd=place)
            except OSError as error:
                raise unreadable(path, error) from None
            self._links[path] = known
        return known
