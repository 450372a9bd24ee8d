# SPDX-License-Identifier: Apache-2.0
"""What an export writes: the rows that no pack holds, and which packs it writes anew.

A set stays within 1.5 times of what lives in it, and within its cap: packs with much dead weight,
and small ones where they became many, are replaced by what lives in them. A pack can be replaced
only where all of that is at hand here. Beyond the cap the users that were away for longest are
forgotten first; a build that alone is beyond it keeps what took longest to make for its size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from wherry.gocache.pack_set import Change, Pack, PackSet, applied, living, rows_in
from wherry.gocache.table import Row, Table
from wherry.oci.digest import Digest

# Compaction begins where dead weight is more than this share of what lives, or packs are so many;
# it ends where little is left of either.
_DEAD = 0.30
_DEAD_LEFT = 0.10
_PACKS = 8
_PACKS_LEFT = 4
# What a pack makes of its content, where none tells yet.
_RATIO = 0.25
# What a table has room for.
_MOST_ROWS = 150_000


class Plan(NamedTuple):
    """What to write for each kind, in this order, and which packs that replaces.

    `dropped` are users to forget.
    """

    rows: Mapping[str, tuple[Row, ...]]
    replaced: frozenset[Digest]
    dropped: frozenset[str]


class _Weight(NamedTuple):
    """A pack, the rows that live in it, and how many of its bytes are dead by estimate."""

    pack: Pack
    live: tuple[Row, ...]
    dead: float
    movable: bool


def make_plan(
    current: PackSet,
    change: Change,
    used: Mapping[str, Sequence[Row]],
    tables: Mapping[Digest, Table],
    at_hand: Callable[[str, Row], bool],
    most: int,
) -> Plan:
    """Plan an export of `used` (rows by kind) into a set that may take `most` bytes.

    `change` names its user and keys and adds nothing yet; `at_hand` tells whether the bytes of a
    row of a kind are here.
    """
    dropped = _forgotten(current, change, used, most)
    change = change._replace(dropped=dropped)
    after = applied(current, change, tables)
    rows: dict[str, tuple[Row, ...]] = {}
    replaced: set[Digest] = set()
    for kind in sorted({*used, *(pack.kind for pack in after.packs)}):
        packs = [pack for pack in after.packs if pack.kind == kind]
        held = {row.key for pack in packs if pack.digest in tables
                for row in tables[pack.digest].rows}  # fmt: skip
        new = [row for row in used.get(kind, ()) if row.key not in held]
        weights = [_weigh(after, pack, tables.get(pack.digest), at_hand) for pack in packs]
        chosen = _chosen(weights, _estimate(new), adds=bool(new))
        replaced |= {weight.pack.digest for weight in chosen}
        moved = [row for weight in chosen for row in weight.live]
        together = {row.key: row for row in (*moved, *new)}
        if together:
            rows[kind] = tuple(together.values())
    return Plan(rows, frozenset(replaced), dropped)


def fitting(rows: Sequence[Row], most: int) -> tuple[Row, ...]:
    """The rows that a cap of `most` bytes and a table hold: the costliest for their size first."""
    if _estimate(rows) <= most and len(rows) <= _MOST_ROWS:
        return tuple(rows)
    left = most / _RATIO
    kept: set[str] = set()
    contents: set[str] = set()
    for row in sorted(rows, key=lambda row: (row.cost + 1) / (row.size + 1), reverse=True):
        size = 0 if row.content in contents else row.size
        if size <= left and len(kept) < _MOST_ROWS:
            left -= size
            contents.add(row.content)
            kept.add(row.key)
    return tuple(row for row in rows if row.key in kept)


def _weigh(
    after: PackSet, pack: Pack, table: Table | None, at_hand: Callable[[str, Row], bool]
) -> _Weight:
    if table is None:
        return _Weight(pack, (), 0.0, movable=False)
    live = rows_in(table, living(after, pack))
    share = _content(live) / pack.content if pack.content else 1.0
    dead = pack.blob.size * max(0.0, 1.0 - share)
    return _Weight(pack, live, dead, all(at_hand(pack.kind, row) for row in live))


def _chosen(weights: Sequence[_Weight], new: float, *, adds: bool) -> list[_Weight]:
    """The packs to write anew."""
    dead = sum(weight.dead for weight in weights)
    live = sum(weight.pack.blob.size for weight in weights) - dead + new
    count = len(weights) + adds
    if dead <= _DEAD * live and count <= _PACKS:
        return []
    chosen: list[_Weight] = []
    movable = sorted((weight for weight in weights if weight.movable),
                     key=lambda weight: weight.dead, reverse=True)  # fmt: skip
    if dead > _DEAD * live:
        for weight in movable:
            if dead <= _DEAD_LEFT * live:
                break
            chosen.append(weight)
            dead -= weight.dead
    for weight in sorted(movable, key=lambda weight: weight.pack.blob.size):
        if len(weights) - len(chosen) + 1 <= _PACKS_LEFT or count <= _PACKS:
            break
        if weight not in chosen:
            chosen.append(weight)
    return chosen


def _forgotten(
    current: PackSet, change: Change, used: Mapping[str, Sequence[Row]], most: int
) -> frozenset[str]:
    """The users to forget so that the set keeps within its cap."""
    oldest_first = sorted((name for name in current.users if name != change.user),
                          key=lambda name: current.users[name].time)  # fmt: skip
    names = oldest_first[::-1]
    packs = {pack.digest: pack for pack in current.packs}
    left = most - sum(_estimate(rows) for rows in used.values())
    living_bits: dict[Digest, int] = {}
    # The newest ones that fit; each user is looked at once, since others may have made up many.
    for number, name in enumerate(names):
        for digest, rows in current.users[name].rows.items():
            pack, before = packs.get(digest), living_bits.get(digest, 0)
            if pack is not None and pack.rows:
                living_bits[digest] = before | rows.bits
                more = living_bits[digest].bit_count() - before.bit_count()
                left -= pack.blob.size * more / pack.rows
        if left < 0:
            return frozenset(names[number:])
    return frozenset()


def _estimate(rows: Iterable[Row]) -> float:
    return _content(rows) * _RATIO


def _content(rows: Iterable[Row]) -> int:
    return sum({row.content: row.size for row in rows}.values())
