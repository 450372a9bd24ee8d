# SPDX-License-Identifier: Apache-2.0
"""Snapshots: directory trees by key, found again by later builds as long as they are there.

A snapshot is written in tmp/ by the namespace worker and committed by one rename. Its content may
belong to other users of a mapping, so nothing here looks below its top directory, whose mtime is
the time of last use.

No snapshot waits for the disk. Its row names the start of the machine in which it was made, and
with another start it counts as lost, unless a later `settle` found the file system written out.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from wherry.errors import MachineError
from wherry.store.database import Database
from wherry.store.errors import machine_error
from wherry.store.numbered import SNAPSHOTS, NumberedTrees
from wherry.store.session import Session
from wherry.store.unsynced import boot_name
from wherry.store.work import held_lock

# Writing out so much takes a disk a fraction of a second; what nobody writes to, a millisecond.
_QUIET_KILOBYTES: Final = 32 << 10
_MEMORY_FACTS: Final = "/proc/meminfo"


class Snapshots:
    """The snapshots of one store; safe for threads and processes.

    `boot` names the time since this machine started, where it is not the kernel's own word for it.
    """

    def __init__(self, session: Session, database: Database, boot: str | None = None) -> None:
        self._session = session
        self._database = database
        self._trees = NumberedTrees(session, database, SNAPSHOTS)
        self._mutex = threading.Lock()
        self._written = 0
        # Where the system has no such name, a snapshot counts in the session that made it only.
        self.boot = (boot_name() if boot is None else boot) or f"unknown-{os.urandom(8).hex()}"

    def find(self, key: str) -> str | None:
        """The directory of the snapshot `key`, which then stays while this store is open.

        None where there is none, or where a power failure may have taken a part of it.
        """
        row = self._database.row("SELECT id, boot FROM snapshots WHERE key = ?", key)
        if row is None or not self._is_trusted(row[1]):
            return None
        path = self._trees.path(int(str(row[0])))
        try:
            if os.stat(path).st_mtime >= self._session.start:
                self._session.note("snapshot", os.path.basename(path))
                return path
        except FileNotFoundError:
            return None
        except OSError as error:
            raise machine_error(error, path) from error
        with self._session.gate():
            gone = self._session.touch((path,), self._session.now())
        if gone:
            return None
        self._session.note("snapshot", os.path.basename(path))
        return path

    def stage(self) -> str:
        """An empty directory (0700) to make a snapshot in; for `commit` or `discard`.

        It goes when this process ends (see `Store.staging_lock` for processes that write there).
        """
        path = self._session.staged_path("snapshot")
        try:
            os.mkdir(path, 0o700)
        except OSError as error:
            raise machine_error(error, self._session.root) from error
        return path

    def commit(self, key: str, staged: str, size: int) -> str:
        """Make the staged directory, which holds something, the snapshot `key`; its path.

        `size` is its bytes on disk. If another process was first, its snapshot is the one that
        counts, and the staged directory goes at the end. Raises `MachineError`.
        """
        self._session.trace("snapshot-staged")
        now = self._session.now()
        try:
            os.utime(staged, (now, now))
        except OSError as error:
            raise machine_error(error, self._session.root) from error
        with self._session.gate(), self._database.transaction():
            winner = self._kept(key, now)
            if winner is None:
                number = self._trees.place(staged, key, size, self.boot)
                self._session.trace("snapshot-renamed")
        if winner is not None:
            self._session.drop_later(staged)
            return winner
        with self._mutex:
            self._written += size
        self._session.trace("snapshot-committed")
        path = self._trees.path(number)
        self._session.note("snapshot", os.path.basename(path))
        return path

    def discard(self, staged: str) -> None:
        """Drop a staged directory; what only other ids may remove goes with the next prune."""
        self._session.drop(staged)

    @contextmanager
    def lock(self, key: str, check: Callable[[], None] | None = None) -> Iterator[None]:
        """Be alone with `key` among all processes and threads; `check` is called while waiting."""
        name = f"snapshot-{hashlib.sha256(key.encode()).hexdigest()[:40]}"
        with held_lock(self._session, name, check):
            try:
                yield
            finally:
                # While it is held: whoever waits for it begins with a new file.
                with suppress(OSError):
                    os.unlink(self._session.lock_path(name))

    def settle(self, *, patient: bool = False) -> None:
        """Have the disk write out what was committed, so that it counts after another start.

        Only where that is quick, unless `patient`. What the disk refuses leaves all as it was.
        """
        row = self._database.row("SELECT max(id) FROM snapshots WHERE boot = ?", self.boot)
        last = row[0] if row else None
        if last is None or not (patient or _is_quiet()):
            return
        with suppress(OSError, MachineError):
            _write_out(self._session.root)
            self._database.rows(
                "UPDATE snapshots SET boot = '' WHERE boot = ? AND id <= ?", self.boot, last
            )

    def take_written(self) -> int:
        """The bytes committed since the last call: what the size cap has to look at."""
        with self._mutex:
            written, self._written = self._written, 0
        return written

    @property
    def grew(self) -> bool:
        """Whether `take_written` has something to give."""
        return self._written > 0

    def _kept(self, key: str, now: float) -> str | None:
        """The snapshot that is there already, marked as used; a row that counts no more goes."""
        row = self._database.row("SELECT id, boot FROM snapshots WHERE key = ?", key)
        if row is None:
            return None
        number = int(str(row[0]))
        path = self._trees.path(number)
        if self._is_trusted(row[1]) and not self._session.touch((path,), now):
            return path
        self._trees.forget(number)
        return None

    def _is_trusted(self, boot: object) -> bool:
        return boot in ("", self.boot)


def _is_quiet() -> bool:
    """Whether the kernel has little to write out at the moment."""
    try:
        with open(_MEMORY_FACTS, encoding="ascii") as file:
            words = [line.split() for line in file]
        return sum(int(line[1]) for line in words if line[0] in ("Dirty:", "Writeback:")) <= (
            _QUIET_KILOBYTES
        )
    except (OSError, ValueError, IndexError):
        return False


def _write_out(directory: str) -> None:
    """syncfs(2) of the file system that holds `directory`; raises `OSError`."""
    # Late, for speed: a build in which nothing changed settles nothing.
    import ctypes  # noqa: PLC0415

    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if library.syncfs(descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), directory)
    except AttributeError as error:
        raise OSError("this system has no syncfs") from error
    finally:
        os.close(descriptor)
