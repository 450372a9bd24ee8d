# SPDX-License-Identifier: Apache-2.0
"""A pack set: what one cache place holds, and how it changes.

A set has a base pack and deltas; each export adds at most one pack with what no other holds. Every
*user* of the set (one module, its packages, one platform) says which rows its last build used: a
row that nobody uses is dead weight. When dead weight or the number of packs passes a share, the
next export writes the living rows of some packs into its own and drops those. All of this is
computed here, from values to values: exporters that meet compute again from what they find.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from wherry.gocache.mount_records import MountRecord, mount_blobs
from wherry.gocache.step_records import StepSet
from wherry.gocache.table import Row, Table
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor

PACK_TYPE: Final = "application/vnd.wherry.gocache.pack.v1+zstd"
TABLE_TYPE: Final = "application/vnd.wherry.gocache.table.v1+zstd"
RECORD_TYPE: Final = "application/vnd.wherry.gocache.record.v1+zstd"
MOST_PACKS: Final = 256
MOST_ROWS: Final = 1_000_000
MOST_USERS: Final = 256
MOST_RECORDS: Final = 256
"""More than so many of these has no set that anybody reads."""
# What an export leaves, so that several at once stay below what is read.
_KEPT_PACKS = 128
_KEPT_USERS = 200


class Pack(NamedTuple):
    """One pack of a set: `content` bytes in `rows` rows; `made` is when."""

    kind: str
    blob: Descriptor
    table: Descriptor
    content: int
    rows: int
    made: int

    @property
    def digest(self) -> Digest:
        """The pack's name."""
        return self.blob.digest


class Rows(NamedTuple):
    """Some rows of a table, by number: bit n stands for row n."""

    bits: int = 0

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of the rows, ascending."""
        return tuple(number for number, bit in enumerate(bin(self.bits)[:1:-1]) if bit == "1")


class User(NamedTuple):
    """Who uses a set: the rows of each pack that its last build used, and when that was."""

    time: int
    rows: Mapping[Digest, Rows]


class RecordBlob(NamedTuple):
    """Travelling records of one request, and layers of its image that are kept here.

    `results` are the manifests of the images of the newest one; `modules` blobs that records have
    in common.
    """

    blob: Descriptor
    time: int
    layers: tuple[Descriptor, ...] = ()
    results: tuple[Digest, ...] = ()
    modules: tuple[Descriptor, ...] = ()


class PackSet(NamedTuple):
    """All that a cache place holds.

    `steps` are those of Dockerfiles, `mounts` cache mounts by key. `faults` say which parts of an
    index were not to be read, and are no part of it.
    """

    packs: tuple[Pack, ...] = ()
    users: Mapping[str, User] = {}
    records: Mapping[str, RecordBlob] = {}
    steps: StepSet = StepSet()
    mounts: Mapping[str, MountRecord] = {}
    faults: tuple[str, ...] = ()

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Every blob that the set is made of, each once."""
        found: dict[Digest, Descriptor] = {}
        for pack in self.packs:
            found |= {pack.blob.digest: pack.blob, pack.table.digest: pack.table}
        for record in self.records.values():
            found |= {blob.digest: blob for blob in (record.blob, *record.layers, *record.modules)}
        found |= self.steps.kept
        found |= {blob.digest: blob for blob in mount_blobs(self.mounts)}
        return tuple(found.values())

    @property
    def size(self) -> int:
        """The bytes of all blobs."""
        return sum(blob.size for blob in self.blobs)


class Change(NamedTuple):
    """What an export does to a set.

    `added` are packs with their tables, `replaced` the packs whose living rows are in one of them.
    `user` used the rows with these keys; `dropped` are users that are forgotten.
    """

    user: str
    time: int
    keys: Mapping[str, Collection[str]]
    added: tuple[tuple[Pack, Table], ...] = ()
    replaced: frozenset[Digest] = frozenset()
    dropped: frozenset[str] = frozenset()
    records: Mapping[str, RecordBlob] = {}


def bits_of(numbers: Iterable[int]) -> Rows:
    """The rows with these numbers."""
    wanted = set(numbers)
    data = bytearray(max(wanted, default=-1) // 8 + 1)
    for number in wanted:
        data[number >> 3] |= 1 << (number & 7)
    return Rows(int.from_bytes(data, "little"))


def living(current: PackSet, pack: Pack) -> Rows:
    """The rows of a pack that some user's last build used."""
    bits = 0
    for user in current.users.values():
        bits |= user.rows.get(pack.digest, Rows()).bits
    return Rows(bits)


def applied(current: PackSet, change: Change, tables: Mapping[Digest, Table]) -> PackSet:
    """The set after a change; `tables` are those of packs by digest, as many as are known.

    Made for the set as it is now, whatever it was when the change was thought out: a pack is
    dropped only if all that others use of it is in an added one.
    """
    added = {pack.digest: table for pack, table in change.added}
    tables = {**tables, **added}
    users = {name: user for name, user in current.users.items()
             if name != change.user and name not in change.dropped}  # fmt: skip
    present = {pack.digest for pack in current.packs}
    packs = [*current.packs, *(pack for pack, _ in change.added if pack.digest not in present)]
    places = _places(((pack, table) for pack, table in change.added))
    gone: set[Digest] = set()
    for pack in current.packs:
        if pack.digest not in change.replaced or pack.digest in added:
            continue
        table = tables.get(pack.digest)
        moved = _moved(users, pack, table, places) if table is not None else None
        if moved is not None:
            users = moved
            gone.add(pack.digest)
    packs = [pack for pack in packs if pack.digest not in gone]
    users = dict(_newest(users)[: _KEPT_USERS - 1])
    users[change.user] = User(change.time, _used(packs, tables, change.keys))
    records = {**current.records, **change.records}
    newest = sorted(records, key=lambda key: records[key].time, reverse=True)[:MOST_RECORDS]
    kept = current._replace(
        packs=tuple(packs), users=users, records={key: records[key] for key in sorted(newest)}
    )
    # What nobody uses as a whole needs no rewriting to go.
    used = tuple(pack for pack in kept.packs if living(kept, pack).bits)
    return kept._replace(packs=_most_used(kept, used))


def _newest(users: Mapping[str, User]) -> list[tuple[str, User]]:
    return sorted(users.items(), key=lambda pair: pair[1].time, reverse=True)


def _most_used(current: PackSet, packs: tuple[Pack, ...]) -> tuple[Pack, ...]:
    """As many of the packs as an index may name: those go first of which least is used.

    There are more only where no exporter has at hand what lives in them.
    """
    if len(packs) <= _KEPT_PACKS and sum(pack.rows for pack in packs) <= MOST_ROWS:
        return packs
    by_use = sorted(packs, key=lambda pack: living(current, pack).bits.bit_count(), reverse=True)
    kept: set[Digest] = set()
    rows = 0
    for pack in by_use[:_KEPT_PACKS]:
        rows += pack.rows
        if rows <= MOST_ROWS:
            kept.add(pack.digest)
    return tuple(pack for pack in packs if pack.digest in kept)


def _places(added: Iterable[tuple[Pack, Table]]) -> dict[tuple[str, str], tuple[Digest, int]]:
    """Where each row (kind and key) of the added packs lies."""
    return {
        (pack.kind, row.key): (pack.digest, number)
        for pack, table in added
        for number, row in enumerate(table.rows)
    }


def _moved(
    users: Mapping[str, User],
    pack: Pack,
    table: Table,
    places: Mapping[tuple[str, str], tuple[Digest, int]],
) -> dict[str, User] | None:
    """The users with what they use of `pack` found elsewhere; None where that is not there."""
    found: dict[str, User] = {}
    for name, user in users.items():
        rows = dict(user.rows)
        there: dict[Digest, list[int]] = {}
        for row in rows_in(table, rows.pop(pack.digest, Rows())):
            place = places.get((pack.kind, row.key))
            if place is None:
                return None
            there.setdefault(place[0], []).append(place[1])
        for digest, numbers in there.items():
            rows[digest] = Rows(rows.get(digest, Rows()).bits | bits_of(numbers).bits)
        found[name] = user._replace(rows=rows)
    return found


def _used(
    packs: Iterable[Pack], tables: Mapping[Digest, Table], keys: Mapping[str, Collection[str]]
) -> dict[Digest, Rows]:
    """The rows with these keys, each in the first pack that has it."""
    left = {kind: set(wanted) for kind, wanted in keys.items()}
    found: dict[Digest, Rows] = {}
    for pack in packs:
        table = tables.get(pack.digest)
        wanted = left.get(pack.kind)
        if table is None or not wanted:
            continue
        numbers = [number for number, row in enumerate(table.rows) if row.key in wanted]
        wanted.difference_update(table.rows[number].key for number in numbers)
        if numbers:
            found[pack.digest] = bits_of(numbers)
    return found


def rows_in(table: Table, rows: Rows) -> tuple[Row, ...]:
    """Some rows of a table; numbers that it has not are passed over."""
    return tuple(table.rows[number] for number in rows.numbers if number < len(table.rows))
