# SPDX-License-Identifier: Apache-2.0
"""Cache mounts: directories that stay from step to step and from build to build.

mounts/N/ belongs to the plain user, mounts/N/fs is what a step sees: its owner and content may be
other ids of a mapping. Whoever uses one holds locks/mount-N, shared or alone; that file's mtime is
the time of last use. Which directory serves whom is settled under a lock of the id, so that two
that begin at once do not pass each other by.

As BuildKit has it, an id may have several directories: *private* and *shared* users take a new one
where all are held by somebody who is alone with theirs; *locked* ones wait for one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Literal, NamedTuple

from wherry.store.database import Database
from wherry.store.errors import machine_error
from wherry.store.locks import acquire, try_acquire
from wherry.store.numbered import MOUNTS, NumberedTrees, name_of, number_of
from wherry.store.session import Session
from wherry.store.work import held_lock

Sharing = Literal["shared", "private", "locked"]
Check = Callable[[], None]
Prepare = Callable[[str], None]

_PAUSE_SECONDS: Final = 0.05


class HeldMount(NamedTuple):
    """A cache mount's directory.

    A new one is empty, mode 0700 and the plain user's but for what `prepare` did to it.
    """

    path: str


class _Claim(NamedTuple):
    key: str
    sharing: Sharing
    prepare: Prepare


class Mounts:
    """The cache mounts of one store; safe for threads and processes."""

    def __init__(self, session: Session, database: Database) -> None:
        self._session = session
        self._database = database
        self._trees = NumberedTrees(session, database, MOUNTS)

    @contextmanager
    def hold(
        self,
        id: str,
        sharing: Sharing = "shared",
        check: Check | None = None,
        prepare: Prepare | None = None,
    ) -> Iterator[HeldMount]:
        """Hold a directory of the cache mount `id`; nothing removes it meanwhile.

        `id` tells apart all that must not share files: mappings too. `check` is called while
        waiting and may raise. `prepare` is called with a new directory before anybody else can
        see it; if it raises, there is no such directory. Raises `MachineError`.

        One step holds each id once: `locked` waits for its own holder too.
        """
        # SQLite's texts are UTF-8; an id may be any bytes.
        key = id.encode("utf-8", "backslashreplace").decode()
        claim = _Claim(key, sharing, prepare or _leave_empty)
        try:
            number, fd = self._taken(claim, check or _never)
        except OSError as error:
            raise machine_error(error, self._session.root) from error
        try:
            self._mark(fd)
            self._session.trace("mount-held")
            yield HeldMount(f"{self._trees.path(number)}/fs")
        finally:
            self._mark(fd)
            os.close(fd)

    def names(self) -> tuple[str, ...]:
        """The ids of cache mounts that steps have had here; raises `MachineError`."""
        rows = self._database.rows("SELECT DISTINCT key FROM mounts ORDER BY key")
        return tuple(str(row[0]) for row in rows)

    def there(self, name: str) -> bool:
        """Whether the directory of that name, the last part of the path above `fs`, still is.

        Whoever asks is about to use it: that counts as a use.
        """
        number = number_of(name)
        if number is None or not os.path.isdir(self._trees.path(number)):
            return False
        with suppress(OSError):
            os.utime(self._lock_path(number), (self._session.now(), self._session.now()))
        return True

    def _taken(self, claim: _Claim, check: Check) -> tuple[int, int]:
        """The directory's number and its lock."""
        while True:
            with allocation(self._session, claim.key, check):
                numbers = self._numbers(claim.key)
                found = self._free(numbers, claim.sharing)
                if found is not None:
                    return found
                if claim.sharing != "locked" or not numbers:
                    return self._made(claim)
            check()
            time.sleep(_PAUSE_SECONDS)

    def _numbers(self, key: str) -> tuple[int, ...]:
        """The directories that there are; rows without one go."""
        there = []
        for row in self._database.rows("SELECT id FROM mounts WHERE key = ? ORDER BY id", key):
            number = int(str(row[0]))
            if os.path.isdir(self._trees.path(number)):
                there.append(number)
            else:
                self._trees.forget(number)
        return tuple(there)

    def _free(self, numbers: tuple[int, ...], sharing: Sharing) -> tuple[int, int] | None:
        """One that may be held now, with its lock; a shared user joins others where it can."""
        alone: tuple[int, int] | None = None
        for number in numbers:
            fd = try_acquire(self._lock_path(number))
            if fd is not None:
                # Only now: it may have been removed while its lock was free.
                if alone is None and os.path.isdir(self._trees.path(number)):
                    alone = (number, fd)
                    if sharing != "shared":
                        return alone
                else:
                    os.close(fd)
            elif sharing == "shared":
                fd = try_acquire(self._lock_path(number), shared=True)
                if fd is not None:
                    if alone is not None:
                        os.close(alone[1])
                    return (number, fd)
        if alone is not None:
            # Nobody can take it between the two: for that the id's lock is needed.
            fcntl.flock(alone[1], fcntl.LOCK_SH)
        return alone

    def _made(self, claim: _Claim) -> tuple[int, int]:
        staged, fd = self._session.staged_path("mount"), -1
        try:
            # makedirs would give the mode to the last one alone.
            os.mkdir(staged, 0o700)
            os.mkdir(f"{staged}/fs", 0o700)
            claim.prepare(f"{staged}/fs")
            self._session.trace("mount-prepared")
            with self._session.gate(), self._database.transaction():
                number = self._trees.place(staged, claim.key)
                # Held before the row is there for others to see.
                fd = acquire(self._lock_path(number), shared=claim.sharing == "shared")
                self._session.trace("mount-renamed")
        except BaseException:
            if fd >= 0:
                os.close(fd)
            self._session.drop(staged)
            raise
        return number, fd

    def _mark(self, fd: int) -> None:
        # A disk that takes no new time lets nothing be removed either.
        with suppress(OSError):
            os.utime(fd, (self._session.now(), self._session.now()))

    def _lock_path(self, number: int) -> str:
        return self._session.lock_path(mount_lock(number))


def mount_lock(number: int) -> str:
    """The name of the lock of directory `number`."""
    return f"mount-{name_of(number)}"


def allocation_lock(key: str) -> str:
    """The name of the lock under which the directories of the cache mount `key` are given out."""
    return f"mounts-{hashlib.sha256(key.encode()).hexdigest()[:40]}"


@contextmanager
def allocation(session: Session, key: str, check: Check) -> Iterator[None]:
    """Hold the lock of the id `key`; nobody begins to hold one of its directories meanwhile."""
    name = allocation_lock(key)
    with held_lock(session, name, check):
        try:
            yield
        finally:
            with suppress(OSError):
                os.unlink(session.lock_path(name))


def _never() -> None:
    return


def _leave_empty(_path: str) -> None:
    return
