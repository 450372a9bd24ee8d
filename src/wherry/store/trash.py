# SPDX-License-Identifier: Apache-2.0
"""Trees on their way out, and what dead processes left in tmp/ and gocache/modules/.

A tree is renamed out of sight first and deleted later, outside the locks. What a mapping's ids own
the plain user cannot delete: such trees go to the *remover*, which enters the mapping. Where this
machine refuses that, they stay in tmp/, are counted there, and the reason is told in one line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from wherry.errors import Interrupted, WherryError
from wherry.store.go_modules import held_unfinished
from wherry.store.locks import try_acquire
from wherry.store.session import Session, remove_tree
from wherry.store.usage import tree_size

Remover = Callable[[tuple[str, ...]], None]


class Leftover(NamedTuple):
    """A staging directory without a living owner, locked by us until `fd` is closed."""

    path: str
    lock: str
    fd: int


class Trash:
    """Removes trees for one session."""

    def __init__(self, session: Session, remover: Remover | None) -> None:
        self._session = session
        self._remover = remover
        self._paths: list[str] = []
        self._stuck: list[str] = []
        self._why = "other user ids own their files"
        self._hint = ""

    @property
    def refusal(self) -> str:
        """What had to stay, why, and what would mend it, in one line; empty if nothing did."""
        if not self._stuck:
            return ""
        count, place = len(self._stuck), self._session.staging_path("").rstrip("/")
        noun = "directory" if count == 1 else "directories"
        hint = self._hint or f"as root: rm -rf {os.path.dirname(self._stuck[0])}"
        return f"{count} {noun} in {place} cannot be removed: {self._why} ({hint})"

    def take(self, path: str) -> str:
        """Move a file or tree out of sight; where it is now. Raises `FileNotFoundError`."""
        try:
            trash = self._session.staged_path("trash")
        except OSError:
            # A full disk may refuse even a new directory; deleting in place is slower, no more.
            remove_tree(path)
            trash = path
        else:
            os.rename(path, trash)
        self._paths.append(trash)
        return trash

    def empty(self) -> None:
        """Remove all that was taken; what only other ids may remove goes to the remover."""
        paths, self._paths = (*self._paths, *self._session.take_stuck()), []
        self._remove(paths)

    def remove_leftovers(self, *, dry_run: bool) -> tuple[int, int]:
        """Remove what dead processes left; how many directories and bytes went, or would go."""
        with held_leftovers(self._session) as found, held_unfinished(self._session.root) as trees:
            paths = (*(leftover.path for leftover in found), *trees)
            sizes = [tree_size(path) for path in paths]
            if dry_run:
                return len(paths), sum(sizes)
            self._remove(paths)
            left = [tree_size(path) if os.path.lexists(path) else -1 for path in paths]
        freed = sum(size - max(rest, 0) for size, rest in zip(sizes, left, strict=True))
        return left.count(-1), freed

    def _remove(self, paths: tuple[str, ...]) -> None:
        for path in paths:
            remove_tree(path)
        stuck = tuple(path for path in paths if os.path.lexists(path))
        if not stuck:
            return
        if self._remover is not None:
            try:
                self._remover(stuck)
            except Interrupted:
                raise
            except WherryError as error:
                # It would say the same of every other tree.
                self._remover = None
                self._why, self._hint = error.what, error.hint
        self._stuck += (path for path in stuck if os.path.lexists(path))


@contextmanager
def held_leftovers(session: Session) -> Iterator[tuple[Leftover, ...]]:
    """Directories in tmp/ whose process is dead, safe from everybody else inside the block.

    Raises `OSError`.
    """
    found = []
    try:
        for name in sorted(os.listdir(session.staging_path(""))):
            lock = session.lock_path(f"tmp-{name}")
            fd = None if session.is_own_staging(name) else try_acquire(lock)
            if fd is not None:
                found.append(Leftover(session.staging_path(name), lock, fd))
        yield tuple(found)
    finally:
        for leftover in found:
            if not os.path.lexists(leftover.path):
                with suppress(OSError):
                    os.unlink(leftover.lock)
            os.close(leftover.fd)
