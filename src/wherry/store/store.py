# SPDX-License-Identifier: Apache-2.0
"""The store as its users see it: opened once for each build, closed at its end.

Opening is on the way of a build in which nothing changed, so this module imports only what such a
build needs; pruning and measuring are imported where they are called.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from wherry.errors import MachineError
from wherry.store.blobs import Blobs
from wherry.store.database import Database
from wherry.store.errors import machine_error
from wherry.store.images import Images
from wherry.store.layout import prepare
from wherry.store.records import Records
from wherry.store.session import Session
from wherry.store.sources import Sources

if TYPE_CHECKING:
    from wherry.events import Event
    from wherry.store.mounts import Mounts
    from wherry.store.plan import Goal
    from wherry.store.prune import Pruned, Pruner
    from wherry.store.snapshots import Snapshots
    from wherry.store.trash import Remover
    from wherry.store.usage import Items, Usage
    from wherry.store.work import WorkDir

# The points at which tests stop or kill a process: every step boundary of a write.
POINTS: Final = (
    "store-prepared", "blob-staged", "blob-synced", "blob-renamed", "record-before",
    "record-after", "tag-before", "tag-after", "work-held", "snapshot-staged", "snapshot-renamed",
    "snapshot-committed", "mount-prepared", "mount-renamed", "mount-held", "prune-planned",
    "prune-snapshots", "prune-mounts", "prune-modules", "prune-records", "prune-blobs",
)  # fmt: skip
_LEAST_LIMIT = 2 * 10**9
_GREATEST_LIMIT = 20 * 10**9
_CHECK_SECONDS = 600.0

Limit: TypeAlias = "int | Callable[[], int | None] | None"
"""A cap in bytes, or what tells it; None for the default."""


def _no_hook(_point: str) -> None:
    return


def open_store(
    path: str | os.PathLike[str],
    size_limit: Limit = None,
    *,
    sink: Callable[[Event], None] | None = None,
    clock: Callable[[], float] = time.time,
    hook: Callable[[str], None] = _no_hook,
    remover: Remover | None = None,
) -> Store:
    """Open the store at `path`, creating it if need be.

    `size_limit` is the cap in bytes, or what gives it where it is asked for; None means a tenth of
    the file system, 2 to 20 GB. `sink` hears of a state.db that had to be begun anew, and of trees
    that cannot be removed; `hook` is called at each of `POINTS`. `remover` removes trees whose
    files belong to other ids of a mapping, and raises `WherryError` where this machine refuses.
    Raises `MachineError` for a store that is newer, another user's, not writable or on a full disk
    (see `wherry.store.relief`).
    """
    root = os.path.abspath(os.fspath(path))
    prepare(root)
    hook("store-prepared")
    session = Session(root, clock, hook)
    try:
        store = Store(session, Database(root, sink), size_limit, remover, sink)
        store.recover()
    except BaseException:
        session.close()
        raise
    return store


def default_limit(path: str) -> int:
    """The cap where nobody names one: a tenth of the file system, 2 to 20 GB.

    `path` need not be there yet: then its file system is that of the directory it will lie in.
    """
    while not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    try:
        status = os.statvfs(path)
    except OSError as error:
        raise machine_error(error, path) from error
    tenth = status.f_frsize * status.f_blocks // 10
    return min(max(tenth, _LEAST_LIMIT), _GREATEST_LIMIT)


class Store:
    """Blobs and their sources, records, images, snapshots, cache mounts, work directories.

    Trees of Go modules are in it as well: others write and read them, and tell `note_written`.

    Safe for threads. Made by `open_store`.

    What one store object uses is safe from every other process and store object until `close`.
    `prune` and `enforce_limit` spare nothing that only this object uses: call them at the end.
    """

    def __init__(
        self,
        session: Session,
        database: Database,
        size_limit: Limit,
        remover: Remover | None,
        sink: Callable[[Event], None] | None,
    ) -> None:
        self.path = session.root
        self._session = session
        self._database = database
        self._size_limit = size_limit
        self._remover = remover
        self._sink = sink
        self._mutex = threading.Lock()
        self._snapshots: Snapshots | None = None
        self._mounts: Mounts | None = None
        self._noted = 0
        self.sources = Sources(database, session)
        self.blobs = Blobs(session, self.sources)
        self.records = Records(database, self.blobs, session)
        self.images = Images(database, self.blobs, self.records, session)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the use of the store; what is staged and not committed goes."""
        with suppress(MachineError):
            if self._snapshots is not None:
                self._snapshots.settle()
        self._database.close()
        self._session.close()

    @property
    def snapshots(self) -> Snapshots:
        """The directory trees that steps left."""
        with self._mutex:
            if self._snapshots is None:
                from wherry.store.snapshots import Snapshots  # noqa: PLC0415 - late, for speed

                self._snapshots = Snapshots(self._session, self._database)
            return self._snapshots

    @property
    def mounts(self) -> Mounts:
        """The directories that stay from step to step."""
        with self._mutex:
            if self._mounts is None:
                from wherry.store.mounts import Mounts  # noqa: PLC0415 - late, for speed

                self._mounts = Mounts(self._session, self._database)
            return self._mounts

    def recover(self) -> None:
        """Remove blobs that a power failure took; for `open_store`."""
        try:
            lost = self.blobs.unsynced.recover()
        except OSError as error:
            raise machine_error(error, self.path) from error
        if lost:
            self._warn(f"{len(lost)} layers had not reached the disk when this machine stopped; "
                       "they will be fetched again")  # fmt: skip

    def trace(self, point: str) -> None:
        """Tell the test's hook that `point` is reached."""
        self._session.trace(point)

    def barrier(self) -> None:
        """Make all committed blobs last through a power failure; `put` and `tag` do it too."""
        self.blobs.barrier()

    @contextmanager
    def work(self, key: str, check: Callable[[], None] | None = None) -> Iterator[WorkDir]:
        """Hold the work directory `key` alone; `check` is called while waiting and may raise."""
        from wherry.store.work import held_work  # noqa: PLC0415 - late, for speed

        with held_work(self._session, key, check) as work:
            yield work

    @contextmanager
    def lock(self, name: str, check: Callable[[], None] | None = None) -> Iterator[int]:
        """Hold the lock `name` alone among all processes; gives its descriptor."""
        from wherry.store.work import held_lock  # noqa: PLC0415 - late, for speed

        with held_lock(self._session, f"user-{name}", check) as fd:
            yield fd

    def scratch(self) -> str:
        """A new directory for this process alone, which is removed when the store is closed."""
        path = self._session.staged_path("scratch")
        try:
            os.mkdir(path, 0o700)
        except OSError as error:
            raise machine_error(error, self.path) from error
        return path

    def staging_lock(self) -> int:
        """The lock of what this process stages, for children that write there to keep open.

        While one of them lives, nobody takes what is staged for a leftover of the dead.
        """
        try:
            return self._session.staging_lock()
        except OSError as error:
            raise machine_error(error, self.path) from error

    @property
    def size_limit(self) -> int:
        """The cap over everything, in bytes; raises what reading settings for it raises."""
        limit = self._size_limit() if callable(self._size_limit) else self._size_limit
        return default_limit(self.path) if limit is None else limit

    @property
    def grew(self) -> bool:
        """Whether anything was added that `enforce_limit` has not looked at yet."""
        snapshots = self._snapshots is not None and self._snapshots.grew
        return self.blobs.grew or snapshots or self._noted > 0

    def note_written(self, size: int) -> None:
        """Note bytes that others wrote into gocache/: the size cap has to look at them."""
        with self._mutex:
            self._noted += size

    def usage(self) -> Usage:
        """How much room the store takes; looks at every file."""
        return self.survey().usage

    def survey(self) -> Items:
        """Everything that is there, one by one."""
        from wherry.store.usage import surveyed  # noqa: PLC0415 - late, for speed

        try:
            return surveyed(self.path, self._database)
        except OSError as error:
            raise machine_error(error, self.path) from error

    def prune(
        self, everything: bool = False, target: int | None = None, *, dry_run: bool = False
    ) -> Pruned:
        """Remove what is not in use; tagged images always stay.

        Without more words: images without a tag, blobs that nothing pins, snapshots that nobody
        can find, and then the least recently used down to the size limit. `everything`: all but
        tagged images. `target`: the least recently used until so many bytes are left.
        """
        from wherry.store.plan import Goal  # noqa: PLC0415 - late, for speed

        if target is not None:
            goal = Goal(target, garbage=False)
        elif everything:
            goal = Goal(0, garbage=True)
        else:
            goal = Goal(self.size_limit, garbage=True)
        if not dry_run:
            self.snapshots.settle(patient=True)
        return self._pruned(goal, dry_run=dry_run)

    def enforce_limit(self) -> Pruned | None:
        """Hold the size cap, for the end of a build; None if nothing had to be pruned.

        What this store object made or found stays if that alone is within the cap. Looks at every
        file at most once in ten minutes, sooner if what was written since may have broken the cap,
        or if the cap is less than it was; what a killed process left goes at once, for a pull may
        leave much. A disk that refuses it fails no build.
        """
        try:
            from wherry.store.go_modules import unfinished  # noqa: PLC0415 - late, for speed

            if self._session.has_stuck() or self._session.has_leftovers() or unfinished(self.path):
                self._warn(self._pruner().remove_leftovers())
            self.blobs.unsynced.settle()
            pruned = self._enforced()
        except (OSError, MachineError):
            return None
        if pruned is not None:
            self._warn(pruned.refused)
        return pruned

    def _enforced(self) -> Pruned | None:
        with self._mutex:
            written, self._noted = self._noted, 0
        written += self.blobs.take_written()
        if self._snapshots is not None:
            written += self._snapshots.take_written()
        meta = {str(name): float(str(value))
                for name, value in self._database.rows("SELECT name, value FROM meta")}  # fmt: skip
        written_since = meta.get("written", 0.0) + written
        limit = self.size_limit
        room = max(limit - meta.get("total", 0.0), limit / 20)
        age = self._session.clock() - meta.get("checked_at", 0.0)
        is_known = limit >= meta.get("limit", 0.0)
        if 0 <= age < _CHECK_SECONDS and written_since <= room and is_known:
            if written:
                self._remember(written=written_since)
            return None
        total, pruned = self.usage().total, None
        if total > limit:
            from wherry.store.plan import Goal  # noqa: PLC0415 - late, for speed

            # Somewhat below the cap, so that the next build need not prune again.
            goal = Goal(limit - limit // 10, garbage=False, own=self._session.own)
            pruned = self._pruned(goal)
            total = pruned.remaining
        self._remember(
            written=0.0, total=float(total), checked_at=self._session.clock(), limit=float(limit)
        )
        return pruned

    def _pruned(self, goal: Goal, *, dry_run: bool = False) -> Pruned:
        try:
            return self._pruner().prune(goal, dry_run=dry_run)
        except OSError as error:
            raise machine_error(error, self.path) from error

    def _pruner(self) -> Pruner:
        from wherry.store.prune import Pruner  # noqa: PLC0415 - late, for speed

        return Pruner(self._session, self._database, self._remover)

    def _warn(self, text: str) -> None:
        if text and self._sink is not None:
            from wherry.events import Level, Message  # noqa: PLC0415 - hardly ever

            self._sink(Message(Level.WARNING, text))

    def _remember(self, **values: float) -> None:
        with self._database.transaction():
            for name, value in values.items():
                self._database.rows("INSERT OR REPLACE INTO meta VALUES (?, ?)", name, value)
