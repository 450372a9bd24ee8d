# SPDX-License-Identifier: Apache-2.0
"""Making the store smaller: a plan from one survey, then its execution under the gate.

Candidates are records, images without a tag, snapshots, cache mounts, Go modules, work directories
and blobs that nothing pins, least recently used first. Tagged images stay whatever the cap says.
Execution asks everything again that may have changed since the survey, moves things out of sight
while the gate is held, and deletes them after it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple

from wherry.errors import MachineError
from wherry.store import go_modules
from wherry.store.database import Database
from wherry.store.images import KIND
from wherry.store.locks import try_acquire
from wherry.store.mounts import allocation_lock, mount_lock
from wherry.store.numbered import MOUNTS, SNAPSHOTS, Table, number_of
from wherry.store.plan import Goal, Plan, Planner, Record
from wherry.store.session import Session
from wherry.store.trash import Remover, Trash
from wherry.store.usage import Item, Kind, surveyed


class Pruned(NamedTuple):
    """What went (or, in a dry run, would go): numbers by kind, bytes on disk, and what is left.

    `refused` says in one line what could not be removed and how it could; empty if nothing was.
    """

    records: int
    images: int
    blobs: int
    snapshots: int
    mounts: int
    modules: int
    work: int
    leftovers: int
    freed: int
    remaining: int
    refused: str = ""


class Pruner:
    """Prunes one store; its caller has no use of that store any more."""

    def __init__(
        self, session: Session, database: Database, remover: Remover | None = None
    ) -> None:
        self._session = session
        self._database = database
        self._root = session.root
        self._trash = Trash(session, remover)

    def prune(self, goal: Goal, *, dry_run: bool = False) -> Pruned:
        """Plan and, unless `dry_run`, execute."""
        leftovers, leftover_bytes = self._trash.remove_leftovers(dry_run=dry_run)
        with self._session.gate(exclusive=True):
            unused_before = self._session.unused_before()
        items = surveyed(self._root, self._database)
        plan = Planner(self._records(), items, unused_before).plan(goal)
        remaining = items.usage.total - plan.freed - leftover_bytes
        if not dry_run:
            self._session.trace("prune-planned")
            plan = self._execute(plan)
            remaining = surveyed(self._root, self._database).usage.total
        images = sum(record.kind == KIND for record in plan.records)
        return Pruned(
            records=len(plan.records) - images,
            images=images,
            blobs=len(plan.of(Kind.BLOB)),
            snapshots=len(plan.of(Kind.SNAPSHOT)),
            mounts=len(plan.of(Kind.MOUNT)),
            modules=len(plan.of(Kind.MODULES)),
            work=len(plan.of(Kind.WORK)),
            leftovers=leftovers,
            freed=plan.freed + leftover_bytes,
            remaining=remaining,
            refused=self._trash.refusal,
        )

    def remove_leftovers(self) -> str:
        """Remove what dead processes and this one staged; a line about what had to stay."""
        self._trash.remove_leftovers(dry_run=False)
        self._trash.empty()
        return self._trash.refusal

    def _records(self) -> tuple[Record, ...]:
        rows = self._database.rows(
            "SELECT id, kind, length(value), used_at, kind = ? AND key IN"
            " (SELECT digest FROM tags) FROM records", KIND,
        )  # fmt: skip
        pins: dict[int, list[str]] = {}
        for record, digest in self._database.rows("SELECT record, digest FROM pins"):
            pins.setdefault(int(str(record)), []).append(str(digest))
        return tuple(
            Record(int(str(row[0])), str(row[1]), int(str(row[2])), float(str(row[3])),
                   bool(row[4]), tuple(pins.get(int(str(row[0])), ())))
            for row in rows
        )  # fmt: skip

    def _execute(self, plan: Plan) -> Plan:
        # Trees go first and at once, for a full disk has no room to delete rows in. What is left
        # of a row without its directory is harmless: nothing finds it.
        gone = self._remove_trees(plan)
        with self._session.gate(exclusive=True):
            unused_before = self._session.unused_before()
            records, pinned = self._delete_records(plan, unused_before)
            self._session.trace("prune-records")
            for item in plan.of(Kind.BLOB):
                if item.name not in pinned:
                    gone |= self._trash_blob(item, unused_before)
            self._session.trace("prune-blobs")
        self._trash.empty()
        with suppress(MachineError):
            self._database.shrink()
        # What could not be deleted has left its place, but frees nothing.
        items = tuple(item for path, item in gone.items() if not os.path.lexists(path))
        freed = sum(record.size for record in records) + sum(item.size for item in items)
        return Plan(records, items, freed)

    def _remove_trees(self, plan: Plan) -> dict[str, Item]:
        gone: dict[str, Item] = {}
        with self._session.gate(exclusive=True):
            unused_before = self._session.unused_before()
            for item in plan.of(Kind.SNAPSHOT):
                gone |= self._trash_snapshot(item, unused_before)
            self._session.trace("prune-snapshots")
        for item in plan.of(Kind.MOUNT):
            gone |= self._remove_mount(item, unused_before)
        self._session.trace("prune-mounts")
        for item in plan.of(Kind.MODULES):
            gone |= self._remove_modules(item, unused_before)
        self._session.trace("prune-modules")
        for item in plan.of(Kind.WORK):
            gone |= self._remove_work(item)
        self._trash.empty()
        return gone

    def _is_new(self, table: Table, item: Item) -> bool:
        """Whether a directory without a row has got one since the survey."""
        return not item.key and self._database.row(table.find, number_of(item.name)) is not None

    def _delete_records(
        self, plan: Plan, unused_before: float
    ) -> tuple[tuple[Record, ...], set[str]]:
        gone = []
        with self._database.transaction():
            for record in plan.records:
                self._database.rows(
                    "DELETE FROM records WHERE id = ? AND used_at < ? AND NOT"
                    " (kind = ? AND key IN (SELECT digest FROM tags))",
                    record.id, unused_before, KIND,
                )  # fmt: skip
                if self._database.row("SELECT changes()") == (1,):
                    gone.append(record)
            for kind, table in ((Kind.SNAPSHOT, SNAPSHOTS), (Kind.MOUNT, MOUNTS)):
                for item in plan.of(kind):
                    # Those in use by now have kept their directories.
                    if not os.path.lexists(f"{self._root}/{table.name}/{item.name}"):
                        self._database.rows(table.delete, number_of(item.name))
            self._database.rows(
                "DELETE FROM sources WHERE used_at < ? AND digest NOT IN"
                " (SELECT digest FROM pins)", unused_before,
            )  # fmt: skip
            pinned = {str(row[0]) for row in self._database.rows("SELECT digest FROM pins")}
        return tuple(gone), pinned

    def _trash_snapshot(self, item: Item, unused_before: float) -> dict[str, Item]:
        path = f"{self._root}/snapshots/{item.name}"
        if _last_use(path) >= unused_before or self._is_new(SNAPSHOTS, item):
            return {}
        return self._taken(path, item)

    def _trash_blob(self, item: Item, unused_before: float) -> dict[str, Item]:
        path = f"{self._root}/blobs/{item.name.replace(':', '/')}"
        return self._taken(path, item) if _last_use(path) < unused_before else {}

    def _remove_mount(self, item: Item, unused_before: float) -> dict[str, Item]:
        """Remove a cache mount that nobody holds, and that nobody is about to hold."""
        guard = self._session.lock_path(allocation_lock(item.key))
        guard_fd = try_acquire(guard)
        if guard_fd is None:
            return {}
        try:
            lock = self._session.lock_path(mount_lock(number_of(item.name) or 0))
            held_at = _last_use(lock)
            fd = try_acquire(lock)
            if fd is None:
                return {}
            try:
                # It may have been held and left again since the survey.
                if self._is_new(MOUNTS, item) or held_at >= unused_before:
                    return {}
                gone = self._taken(f"{self._root}/mounts/{item.name}", item)
                os.unlink(lock)
                return gone
            finally:
                os.close(fd)
        finally:
            os.unlink(guard)
            os.close(guard_fd)

    def _remove_modules(self, item: Item, unused_before: float) -> dict[str, Item]:
        path = go_modules.path_of(self._root, item.name)
        if item.name == go_modules.LISTINGS:
            return self._taken(path, item) if _last_use(path) < unused_before else {}
        with go_modules.set_aside(path, unused_before) as aside:
            return self._taken(aside, item) if aside else {}

    def _remove_work(self, item: Item) -> dict[str, Item]:
        lock = self._session.lock_path(f"work-{item.name}")
        fd = try_acquire(lock)
        if fd is None:
            return {}
        try:
            gone = self._taken(f"{self._root}/work/{item.name}", item)
            os.unlink(lock)
            return gone
        finally:
            os.close(fd)

    def _taken(self, path: str, item: Item) -> dict[str, Item]:
        """Where the item is now; nothing if it was gone already."""
        try:
            return {self._trash.take(path): item}
        except FileNotFoundError:
            return {}


def _last_use(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        # What is there no more was in use never.
        return 0.0
