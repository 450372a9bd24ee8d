# SPDX-License-Identifier: Apache-2.0
"""What a prune will remove: candidates dropped one by one, with account of what that frees.

The order is that of last use, garbage first. Images with a tag, what pinned records keep and
whatever is in use are no candidates.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from wherry.store.images import KIND
from wherry.store.usage import IN_USE, Item, Items, Kind


class Goal(NamedTuple):
    """How far to go: the least recently used goes until `target` bytes are left.

    With `garbage`, images without a tag, blobs that nothing pins and snapshots that nobody can
    find go in any case. What is `own` (records, blobs and snapshots, as `Session.note` names them)
    stays if that alone is no more than `target`.
    """

    target: int
    garbage: bool
    own: frozenset[tuple[str, str]] = frozenset()


class Record(NamedTuple):
    """A record as pruning sees it; `size` is that of its value."""

    id: int
    kind: str
    size: int
    used_at: float
    tagged: bool
    pins: tuple[str, ...]


class Plan(NamedTuple):
    """What goes, in the order of the decisions, and how many bytes that frees."""

    records: tuple[Record, ...]
    items: tuple[Item, ...]
    freed: int

    def of(self, kind: Kind) -> tuple[Item, ...]:
        """The items of one kind."""
        return tuple(item for item in self.items if item.kind is kind)


class Planner:
    """Makes one plan; what was used at or after `unused_before` stays."""

    def __init__(self, records: tuple[Record, ...], items: Items, unused_before: float) -> None:
        self._all_records = records
        self._all_items = items
        self._unused_before = unused_before
        self._pins = Counter(digest for record in records for digest in record.pins)
        self._blobs = {item.name: item for item in items.blobs}
        self._freed = 0
        # In order; a dict for its quick look-up.
        self._records: dict[int, Record] = {}
        self._items: dict[tuple[Kind, str], Item] = {}
        self._own: frozenset[tuple[str, str]] = frozenset()

    def plan(self, goal: Goal) -> Plan:
        """The whole plan."""
        if self._weight(goal.own) <= goal.target:
            self._own = goal.own
        if goal.garbage:
            for record in self._all_records:
                if record.kind == KIND:
                    self._drop(record)
            for item in self._all_items.all:
                if item.garbage or item.kind is Kind.BLOB:
                    self._drop(item)
        candidates: list[Record | Item] = [*self._all_records, *self._all_items.all]
        for candidate in sorted(candidates, key=_age):
            if self._all_items.usage.total - self._freed <= goal.target:
                break
            self._drop(candidate)
        return Plan(tuple(self._records.values()), tuple(self._items.values()), self._freed)

    def _weight(self, own: frozenset[tuple[str, str]]) -> int:
        """Bytes on disk of what is `own`, with the blobs that its records pin."""
        blobs = {name for noun, name in own if noun == "blob"}
        for record in self._all_records:
            if ("record", str(record.id)) in own:
                blobs.update(record.pins)
        weight = sum(self._blobs[name].size for name in blobs if name in self._blobs)
        return weight + sum(
            item.size for item in self._all_items.snapshots if ("snapshot", item.name) in own
        )

    def _is_own(self, candidate: Record | Item) -> bool:
        if isinstance(candidate, Record):
            return ("record", str(candidate.id)) in self._own
        return (str(candidate.kind), candidate.name) in self._own

    def _drop(self, candidate: Record | Item) -> None:
        if self._is_own(candidate):
            return
        if isinstance(candidate, Record):
            if candidate.used_at < self._unused_before:
                self._drop_record(candidate)
        elif not self._is_in_use(candidate) and (
            candidate.kind is not Kind.BLOB or self._pins[candidate.name] <= 0
        ):
            self._drop_item(candidate)

    def _is_in_use(self, item: Item) -> bool:
        # A work directory is a build's only while it is held.
        if item.kind is Kind.WORK:
            return item.used_at == IN_USE
        return item.used_at >= self._unused_before

    def _drop_record(self, record: Record) -> None:
        if record.tagged or record.id in self._records:
            return
        self._records[record.id] = record
        self._freed += record.size
        self._pins.subtract(record.pins)
        for digest in record.pins:
            if digest in self._blobs:
                self._drop(self._blobs[digest])

    def _drop_item(self, item: Item) -> None:
        name = (item.kind, item.name)
        if name not in self._items:
            self._items[name] = item
            self._freed += item.size


def _age(candidate: Record | Item) -> tuple[bool, float]:
    return not (isinstance(candidate, Item) and candidate.garbage), candidate.used_at
