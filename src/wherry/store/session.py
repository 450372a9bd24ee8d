# SPDX-License-Identifier: Apache-2.0
"""One open store's presence: what it uses counts as used since the hour it was opened in.

The package's docstring states the rule by which nothing in use is removed; this module holds its
parts: the session's lock, the gate, the time that marks use, and the staging directory.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from wherry.store.errors import machine_error
from wherry.store.locks import acquire, try_acquire

EPOCH_SECONDS = 3600
_PREFIX = "session-"


class Session:
    """Held from opening a store to closing it; safe for threads."""

    def __init__(self, root: str, clock: Callable[[], float], trace: Callable[[str], None]) -> None:
        self.root = root
        self.clock = clock
        self.trace = trace
        self._epoch = int(clock()) // EPOCH_SECONDS
        # Everything used by this session has a time of last use at or after this.
        self.start = float(self._epoch * EPOCH_SECONDS)
        self._mutex = threading.Lock()
        self._staging = ""
        self._staging_fd = -1
        self._count = 0
        self._stuck: list[str] = []
        self._own: set[tuple[str, str]] = set()
        with self.gate():
            self._fd = self._enter()

    def now(self) -> float:
        """The time to mark use with: a clock that was set back must not undo the marks."""
        return max(self.clock(), self.start)

    @contextmanager
    def gate(self, *, exclusive: bool = False) -> Iterator[None]:
        """Shared: nothing is removed meanwhile. Exclusive: no session begins, nothing is touched.

        To be taken before any lock of the database, never inside a transaction.
        """
        path = self.lock_path("gate")
        try:
            fd = acquire(path, shared=not exclusive)
        except OSError as error:
            raise machine_error(error, path) from error
        try:
            yield
        finally:
            os.close(fd)

    def touch(self, paths: Iterable[str], stamp: float) -> tuple[str, ...]:
        """Mark files as used in the hour of `stamp`; returns those that are gone.

        For the holder of the gate. A record that bears the same stamp can vouch for the files: to
        whom the record is fresh, they are.
        """
        gone, hour = [], stamp // EPOCH_SECONDS * EPOCH_SECONDS
        for path in paths:
            try:
                if os.stat(path).st_mtime < hour:
                    os.utime(path, (stamp, stamp))
            except FileNotFoundError:
                gone.append(path)
            except OSError:
                # A disk that takes no new time lets nothing be removed either.
                continue
        return tuple(gone)

    def note(self, noun: str, name: str) -> None:
        """Note that this session made or found the `noun` (record, blob, snapshot) `name`."""
        self._own.add((noun, name))

    @property
    def own(self) -> frozenset[tuple[str, str]]:
        """What `note` was told: what the end of a build spares as long as there is room for it."""
        return frozenset(self._own)

    def staged_path(self, noun: str) -> str:
        """A new path in this process's staging directory, which is removed if the process dies."""
        with self._mutex:
            if not self._staging:
                name = f"{os.getpid()}-{os.urandom(4).hex()}"
                # The lock comes first: whoever sees the directory sees that it has a holder.
                fd = acquire(self.lock_path(f"tmp-{name}"))
                try:
                    os.makedirs(self.staging_path(name), 0o700)
                except BaseException:
                    os.close(fd)
                    raise
                self._staging, self._staging_fd = name, fd
            self._count += 1
            return f"{self.staging_path(self._staging)}/{noun}-{self._count}"

    def staging_lock(self) -> int:
        """The lock of the staging directory: whoever keeps it open keeps what is staged."""
        self.staged_path("")
        return self._staging_fd

    def drop(self, path: str) -> None:
        """Remove what was staged; what other ids own is kept in mind for `take_stuck`."""
        remove_tree(path)
        if os.path.lexists(path):
            self.drop_later(path)

    def drop_later(self, path: str) -> None:
        """Drop what was staged, but not now: at the end of the build or of the session."""
        with self._mutex:
            self._stuck.append(path)

    def take_stuck(self) -> tuple[str, ...]:
        """Staged trees that are dropped and not gone, since the last call."""
        with self._mutex:
            stuck, self._stuck = self._stuck, []
        return tuple(stuck)

    def has_stuck(self) -> bool:
        """Whether `take_stuck` has something to give."""
        return bool(self._stuck)

    def staging_path(self, name: str) -> str:
        """The staging directory `name`; without a name, the one that holds them all."""
        return os.path.join(self.root, "tmp", name)

    def is_own_staging(self, name: str) -> bool:
        """Whether tmp/`name` belongs to this session."""
        return name == self._staging

    def has_leftovers(self) -> bool:
        """Whether tmp/ holds staging directories of others, dead or alive."""
        return any(not self.is_own_staging(name) for name in os.listdir(self.staging_path("")))

    def unused_before(self) -> float:
        """The time before whose last use nothing is in use; infinity if nobody else is here.

        For the holder of the exclusive gate. Uses of this session itself do not count: whoever
        prunes says that its own work is done.
        """
        os.close(self._fd)
        try:
            live = [epoch for epoch in self._epochs() if not self._is_over(epoch)]
        finally:
            self._fd = self._enter()
        return float(min(live) * EPOCH_SECONDS) if live else float("inf")

    def lock_path(self, name: str) -> str:
        """The path of the lock `name`."""
        return f"{self.root}/locks/{name}"

    def close(self) -> None:
        """End the session; staged files that were not committed go with it.

        What only other ids may remove stays, as what a killed process leaves, for the next prune
        or the next namespace worker.
        """
        if self._staging:
            path = self.staging_path(self._staging)
            remove_tree(path)
            if not os.path.lexists(path):
                with suppress(OSError):
                    os.unlink(self.lock_path(f"tmp-{self._staging}"))
            os.close(self._staging_fd)
        os.close(self._fd)

    def _enter(self) -> int:
        path = self.lock_path(f"{_PREFIX}{self._epoch}")
        try:
            return acquire(path, shared=True)
        except OSError as error:
            raise machine_error(error, path) from error

    def _epochs(self) -> list[int]:
        names = [name.removeprefix(_PREFIX) for name in os.listdir(f"{self.root}/locks")
                 if name.startswith(_PREFIX)]  # fmt: skip
        return [int(name) for name in names if name.isdigit()]

    def _is_over(self, epoch: int) -> bool:
        path = self.lock_path(f"{_PREFIX}{epoch}")
        fd = try_acquire(path)
        if fd is None:
            return False
        os.unlink(path)
        os.close(fd)
        return True


def remove_tree(path: str) -> None:
    """Remove a file or a directory with all it holds; what cannot be removed stays."""
    try:
        os.rmdir(path)
    except NotADirectoryError:
        with suppress(OSError):
            os.unlink(path)
    except FileNotFoundError:
        return
    except OSError:
        # Late, for speed: most sessions stage nothing, or leave an empty directory.
        from wherry.fstree import removal  # noqa: PLC0415

        try:
            removal.remove_tree(path)
        except OSError:
            # It ends at the first refusal; the rest of the room is wanted all the same.
            import shutil  # noqa: PLC0415

            shutil.rmtree(path, ignore_errors=True)
