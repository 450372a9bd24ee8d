# SPDX-License-Identifier: Apache-2.0
"""Making the store smaller: a plan from one survey, then its execution under the gate.

Candidates are records, images without a tag, work directories and blobs that nothing pins, least
recently used first. Tagged images stay whatever the cap says. Execution asks everything again that
may have changed since the survey, moves things out of sight while the gate is held, and deletes
them after it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from wherry.errors import MachineError
from wherry.store.database import Database
from wherry.store.images import KIND
from wherry.store.locks import try_acquire
from wherry.store.session import Session, remove_tree
from wherry.store.usage import Item, blob_items, measured, tree_size, work_items


class Goal(NamedTuple):
    """How far to go: the least recently used goes until `target` bytes are left.

    With `garbage`, images without a tag and blobs that nothing pins go in any case.
    """

    target: int
    garbage: bool


class Pruned(NamedTuple):
    """What went (or, in a dry run, would go): numbers by kind, bytes on disk, and what is left."""

    records: int
    images: int
    work: int
    blobs: int
    leftovers: int
    freed: int
    remaining: int


class _Record(NamedTuple):
    id: int
    kind: str
    size: int
    used_at: float
    tagged: bool
    pins: tuple[str, ...]


class _Survey(NamedTuple):
    records: tuple[_Record, ...]
    blobs: tuple[Item, ...]
    work: tuple[Item, ...]
    total: int


class _Plan(NamedTuple):
    records: tuple[_Record, ...]
    work: tuple[Item, ...]
    blobs: tuple[Item, ...]
    freed: int


class Pruner:
    """Prunes one store; its caller has no use of that store any more."""

    def __init__(self, session: Session, database: Database) -> None:
        self._session = session
        self._database = database
        self._root = session.root
        self._trash: list[str] = []

    def prune(self, goal: Goal, *, dry_run: bool = False) -> Pruned:
        """Plan and, unless `dry_run`, execute."""
        leftovers, leftover_bytes = self._remove_leftovers(dry_run=dry_run)
        with self._session.gate(exclusive=True):
            unused_before = self._session.unused_before()
        survey = self._survey()
        plan = _Planner(survey, unused_before).plan(goal)
        if not dry_run:
            self._session.trace("prune-planned")
            plan = self._execute(plan)
        images = sum(record.kind == KIND for record in plan.records)
        remaining = survey.total - plan.freed - (leftover_bytes if dry_run else 0)
        if not dry_run:
            remaining = measured(self._root).total
        return Pruned(
            len(plan.records) - images, images, len(plan.work), len(plan.blobs), leftovers,
            plan.freed + leftover_bytes, remaining,
        )  # fmt: skip

    def remove_leftovers(self) -> int:
        """Remove what dead processes left in tmp/; the number of bytes that it took."""
        return self._remove_leftovers(dry_run=False)[1]

    def _survey(self) -> _Survey:
        rows = self._database.rows(
            "SELECT id, kind, length(value), used_at, kind = ? AND key IN"
            " (SELECT digest FROM tags) FROM records", KIND,
        )  # fmt: skip
        pins: dict[int, list[str]] = {}
        for record, digest in self._database.rows("SELECT record, digest FROM pins"):
            pins.setdefault(int(str(record)), []).append(str(digest))
        records = tuple(
            _Record(int(str(row[0])), str(row[1]), int(str(row[2])), float(str(row[3])),
                    bool(row[4]), tuple(pins.get(int(str(row[0])), ())))
            for row in rows
        )  # fmt: skip
        return _Survey(
            records, blob_items(self._root), work_items(self._root), measured(self._root).total
        )

    def _execute(self, plan: _Plan) -> _Plan:
        with self._session.gate(exclusive=True):
            unused_before = self._session.unused_before()
            records, pinned = self._delete_records(plan.records, unused_before)
            self._session.trace("prune-records")
            unpinned = [item for item in plan.blobs if item.name not in pinned]
            blobs = [item for item in unpinned if self._trash_blob(item, unused_before)]
            self._session.trace("prune-blobs")
        work = tuple(item for item in plan.work if self._remove_work(item))
        self._empty_trash()
        with suppress(MachineError):
            self._database.shrink()
        freed = sum(item.size for item in (*blobs, *work)) + sum(item.size for item in records)
        return _Plan(records, work, tuple(blobs), freed)

    def _delete_records(
        self, records: Iterable[_Record], unused_before: float
    ) -> tuple[tuple[_Record, ...], set[str]]:
        gone = []
        with self._database.transaction():
            for record in records:
                self._database.rows(
                    "DELETE FROM records WHERE id = ? AND used_at < ? AND NOT"
                    " (kind = ? AND key IN (SELECT digest FROM tags))",
                    record.id, unused_before, KIND,
                )  # fmt: skip
                if self._database.row("SELECT changes()") == (1,):
                    gone.append(record)
            self._database.rows(
                "DELETE FROM sources WHERE used_at < ? AND digest NOT IN"
                " (SELECT digest FROM pins)", unused_before,
            )  # fmt: skip
            pinned = {str(row[0]) for row in self._database.rows("SELECT digest FROM pins")}
        return tuple(gone), pinned

    def _trash_blob(self, item: Item, unused_before: float) -> bool:
        path = f"{self._root}/blobs/{item.name.replace(':', '/')}"
        try:
            if os.stat(path).st_mtime >= unused_before:
                return False
            self._move_to_trash(path)
        except FileNotFoundError:
            return False
        return True

    def _remove_work(self, item: Item) -> bool:
        lock = self._session.lock_path(f"work-{item.name}")
        fd = try_acquire(lock)
        if fd is None:
            return False
        try:
            self._move_to_trash(f"{self._root}/work/{item.name}")
            os.unlink(lock)
        except FileNotFoundError:
            return False
        finally:
            os.close(fd)
        return True

    def _move_to_trash(self, path: str) -> None:
        try:
            trash = self._session.staged_path("trash")
        except OSError:
            # A full disk may refuse even a new directory; deleting in place is slower, no more.
            remove_tree(path)
            return
        os.rename(path, trash)
        self._trash.append(trash)

    def _empty_trash(self) -> None:
        for path in self._trash:
            remove_tree(path)
        self._trash.clear()

    def _remove_leftovers(self, *, dry_run: bool) -> tuple[int, int]:
        """What processes left in tmp/ that died before they could clean up."""
        count = size = 0
        for name in os.listdir(self._session.staging_path("")):
            lock = self._session.lock_path(f"tmp-{name}")
            fd = None if self._session.is_own_staging(name) else try_acquire(lock)
            if fd is None:
                continue
            path = self._session.staging_path(name)
            try:
                size += tree_size(path)
                if not dry_run:
                    remove_tree(path)
                    os.unlink(lock)
                count += 1
            except PermissionError:
                # A killed run's files may belong to mapped ids: only the next run can remove them.
                continue
            finally:
                os.close(fd)
        return count, size


class _Planner:
    """Drops candidates one by one and keeps account of what that frees."""

    def __init__(self, survey: _Survey, unused_before: float) -> None:
        self._survey = survey
        self._unused_before = unused_before
        self._pins = Counter(digest for record in survey.records for digest in record.pins)
        self._left = {item.name: item for item in survey.blobs}
        self._freed = 0
        self._records: list[_Record] = []
        self._work: list[Item] = []
        self._blobs: list[Item] = []

    def plan(self, goal: Goal) -> _Plan:
        """The whole plan."""
        if goal.garbage:
            for record in self._survey.records:
                if record.kind == KIND:
                    self._drop(record)
            for item in self._survey.blobs:
                self._drop_blob(item)
        candidates: list[_Record | Item] = [*self._survey.records, *self._survey.work,
                                            *self._survey.blobs]  # fmt: skip
        for candidate in sorted(candidates, key=lambda found: found.used_at):
            if self._survey.total - self._freed <= goal.target:
                break
            self._drop(candidate)
        return _Plan(tuple(self._records), tuple(self._work), tuple(self._blobs), self._freed)

    def _drop(self, candidate: _Record | Item) -> None:
        if isinstance(candidate, _Record):
            self._drop_record(candidate)
        elif candidate.name in self._left:
            self._drop_blob(candidate)
        elif ":" not in candidate.name:
            self._work.append(candidate)
            self._freed += candidate.size

    def _drop_record(self, record: _Record) -> None:
        if record.tagged or record.used_at >= self._unused_before or record in self._records:
            return
        self._records.append(record)
        self._freed += record.size
        self._pins.subtract(record.pins)
        for digest in record.pins:
            if digest in self._left:
                self._drop_blob(self._left[digest])

    def _drop_blob(self, item: Item) -> None:
        if self._pins[item.name] > 0 or item.used_at >= self._unused_before:
            return
        if self._left.pop(item.name, None) is not None:
            self._blobs.append(item)
            self._freed += item.size
