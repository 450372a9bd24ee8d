# SPDX-License-Identifier: Apache-2.0
"""A pack set: what one cache place holds, and how it changes.

A set has a base pack and deltas; each export adds at most one pack with what no other holds. Every
*user* of the set (one module, its packages, one platform) says which rows its last build used: a
row that nobody uses is dead weight. When dead weight or the number of packs passes a share, the
next export writes the living rows of some packs into its own and drops those. All of this is
computed here, from values to values: exporters that meet compute again from what they find.

JSON form of the index, version 1:
  {"v": 1,
   "packs": [{"kind", "pack": [digest, size], "table": [digest, size], "content": bytes,
              "rows": count, "made": time}, ...]
   "users": {name: {"time": time, "rows": {pack digest: base64 of a bitmap, or "*"}}}
   "records": {key: {"blob": [digest, size], "time": time, "layers": [[digest, size, type], ...],
                     "results": [digest, ...], "modules": [[digest, size], ...]}}}
Times are seconds since 1970. Dictionaries with keys not named here are read and dropped.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

from wherry.errors import UsageError
from wherry.gocache.table import KINDS, BadPack, Row, Table
from wherry.oci.digest import Digest, parse_digest
from wherry.oci.image import Descriptor

PACK_TYPE: Final = "application/vnd.wherry.gocache.pack.v1+zstd"
TABLE_TYPE: Final = "application/vnd.wherry.gocache.table.v1+zstd"
RECORD_TYPE: Final = "application/vnd.wherry.gocache.record.v1+zstd"
_VERSION = 1
_MOST_PACKS = 256
_MOST_ROWS = 1_000_000
_MOST_USERS = 256
_MOST_RECORDS = 256
# What an export leaves, so that several at once stay below what is read.
_KEPT_PACKS = 128
_KEPT_USERS = 200
_ALL = "*"


class OtherRelease(BadPack):
    """A set that another release of wherry has written: not ours to replace."""


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
    """All that a cache place holds."""

    packs: tuple[Pack, ...] = ()
    users: Mapping[str, User] = {}
    records: Mapping[str, RecordBlob] = {}

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Every blob that the set is made of, each once."""
        found: dict[Digest, Descriptor] = {}
        for pack in self.packs:
            found |= {pack.blob.digest: pack.blob, pack.table.digest: pack.table}
        for record in self.records.values():
            found |= {blob.digest: blob for blob in (record.blob, *record.layers, *record.modules)}
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
    newest = sorted(records, key=lambda key: records[key].time, reverse=True)[:_MOST_RECORDS]
    kept = PackSet(tuple(packs), users, {key: records[key] for key in sorted(newest)})
    # What nobody uses as a whole needs no rewriting to go.
    used = tuple(pack for pack in kept.packs if living(kept, pack).bits)
    return kept._replace(packs=_most_used(kept, used))


def _newest(users: Mapping[str, User]) -> list[tuple[str, User]]:
    return sorted(users.items(), key=lambda pair: pair[1].time, reverse=True)


def _most_used(current: PackSet, packs: tuple[Pack, ...]) -> tuple[Pack, ...]:
    """As many of the packs as an index may name: those go first of which least is used.

    There are more only where no exporter has at hand what lives in them.
    """
    if len(packs) <= _KEPT_PACKS and sum(pack.rows for pack in packs) <= _MOST_ROWS:
        return packs
    by_use = sorted(packs, key=lambda pack: living(current, pack).bits.bit_count(), reverse=True)
    kept: set[Digest] = set()
    rows = 0
    for pack in by_use[:_KEPT_PACKS]:
        rows += pack.rows
        if rows <= _MOST_ROWS:
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


def encode_index(current: PackSet) -> bytes:
    """The index as JSON; equal sets give equal bytes."""
    value = {
        "v": _VERSION,
        "packs": [
            {
                "kind": pack.kind,
                "pack": _encoded(pack.blob),
                "table": _encoded(pack.table),
                "content": pack.content,
                "rows": pack.rows,
                "made": pack.made,
            }
            for pack in current.packs
        ],
        "users": {
            name: {
                "time": user.time,
                "rows": {
                    str(pack.digest): _bitmap(user.rows[pack.digest], pack.rows)
                    for pack in current.packs
                    if pack.digest in user.rows
                },
            }
            for name, user in current.users.items()
        },
        "records": {
            key: {
                "blob": _encoded(record.blob),
                "time": record.time,
                "layers": [[*_encoded(layer), layer.media_type] for layer in record.layers],
                "results": [str(result) for result in record.results],
                "modules": [_encoded(blob) for blob in record.modules],
            }
            for key, record in current.records.items()
        },
    }
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def read_index(data: bytes) -> PackSet:
    """A set from its index; raises `BadPack` for one that is malformed or of a newer version."""
    try:
        return _index(json.loads(data))
    except BadPack:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError,
            UsageError) as error:  # fmt: skip
        raise BadPack("the index of a Go cache is malformed", why=str(error)[:200]) from error


def _index(value: Any) -> PackSet:  # noqa: ANN401 - a stranger's JSON, checked here
    if value["v"] != _VERSION:
        why = f"its version is {value['v']!r}; this wherry knows {_VERSION}"
        raise OtherRelease("the Go cache was written by another release of wherry", why=why)
    for name, most in (("packs", _MOST_PACKS), ("users", _MOST_USERS), ("records", _MOST_RECORDS)):
        if len(value[name]) > most:
            raise BadPack(f"the index of a Go cache has more than {most} {name}")
    packs = tuple(map(_pack, value["packs"]))
    if sum(pack.rows for pack in packs) > _MOST_ROWS:
        raise BadPack(f"the index of a Go cache has more than {_MOST_ROWS} rows")
    # Made once for each pack: "*" is short, and what it stands for is not.
    wholes = {pack.digest: Rows((1 << pack.rows) - 1) for pack in packs}
    return PackSet(
        packs,
        {str(name): _user(user, wholes) for name, user in value["users"].items()},
        {str(key): _record(record) for key, record in value["records"].items()},
    )


def _pack(value: Any) -> Pack:  # noqa: ANN401 - as above
    if value["kind"] not in KINDS:
        raise BadPack("the index of a Go cache names a pack of an unknown kind")
    return Pack(
        value["kind"],
        _descriptor(PACK_TYPE, *value["pack"]),
        _descriptor(TABLE_TYPE, *value["table"]),
        _count(value["content"]),
        _count(value["rows"], _MOST_ROWS),
        _count(value["made"]),
    )


def _user(value: Any, wholes: Mapping[Digest, Rows]) -> User:  # noqa: ANN401 - as above
    rows = {parse_digest(digest): bitmap for digest, bitmap in value["rows"].items()}
    return User(
        _count(value["time"]),
        {
            digest: _rows(bitmap, wholes[digest])
            for digest, bitmap in rows.items()
            if digest in wholes
        },
    )


def _record(value: Any) -> RecordBlob:  # noqa: ANN401 - as above
    layers = tuple(
        _descriptor(str(media_type), digest, size) for digest, size, media_type in value["layers"]
    )
    results = tuple(map(parse_digest, value["results"]))
    blob, *modules = (
        _descriptor(RECORD_TYPE, *item) for item in (value["blob"], *value["modules"])
    )
    return RecordBlob(blob, _count(value["time"]), layers, results, tuple(modules))


def _descriptor(media_type: str, digest: Any, size: Any) -> Descriptor:  # noqa: ANN401 - as above
    found = parse_digest(digest)
    if found.algorithm != "sha256":
        raise BadPack("the index of a Go cache names a blob by another digest than sha256")
    return Descriptor(media_type, found, _count(size))


def _encoded(blob: Descriptor) -> list[str | int]:
    return [str(blob.digest), blob.size]


def _bitmap(rows: Rows, count: int) -> str:
    if rows.bits == (1 << count) - 1:
        return _ALL
    return base64.b64encode(rows.bits.to_bytes((count + 7) // 8, "little")).decode("ascii")


def _rows(text: Any, whole: Rows) -> Rows:  # noqa: ANN401 - as above
    if text == _ALL:
        return whole
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise BadPack("the index of a Go cache is malformed", why=str(error)) from error
    if len(data) != (whole.bits.bit_length() + 7) // 8:
        raise BadPack("the index of a Go cache is malformed", why="a bitmap of another size")
    return Rows(int.from_bytes(data, "little") & whole.bits)


def _count(value: Any, most: int = 1 << 50) -> int:  # noqa: ANN401 - as above
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise BadPack("the index of a Go cache is malformed", why=f"not a number: {value!r}"[:80])
    return value
