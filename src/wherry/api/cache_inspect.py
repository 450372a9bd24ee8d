# SPDX-License-Identifier: Apache-2.0
"""What a cache place holds: its packs, who uses how much of them, records, and what nobody uses.

Steps of Dockerfiles are counted, with the layers that are kept for them.

Read are the index and the packs' tables, not the packs. Names in them are what exporters wrote,
whoever they were.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from wherry.api.cache_places import cache_key, open_place
from wherry.api.registries import Registries, RegistryAround
from wherry.errors import NetworkError, UsageError
from wherry.gocache.importing import Holding
from wherry.gocache.pack_index import read_index
from wherry.gocache.pack_set import Pack, PackSet, Rows, User, living, rows_in
from wherry.gocache.places import Found
from wherry.gocache.spec import CacheSpec, parse_cache_spec
from wherry.gocache.step_records import StepSet
from wherry.gocache.table import Table
from wherry.oci.digest import Digest


class PackContents(NamedTuple):
    """One pack: `size` bytes with its table, which hold `content` bytes in `entries`.

    `made` is in seconds since 1970. `used` is the share of its content that some user's last build
    used, None where its table cannot be read; `damaged` then says why.
    """

    digest: str
    kind: str
    size: int
    content: int
    entries: int
    made: int
    used: float | None
    damaged: str = ""


class CacheUser(NamedTuple):
    """Who uses a cache: what its last build, at `time`, used of it, in bytes of content.

    `share` is that as a share of all content, `shares` that of each pack, in their order; None
    where a table cannot be read.
    """

    name: str
    time: int
    used: int
    share: float
    shares: tuple[float | None, ...]


class CacheRecord(NamedTuple):
    """A build record that travels, with the layers that are kept for it, in bytes."""

    key: str
    time: int
    size: int
    layers: int
    layers_size: int


class CacheSteps(NamedTuple):
    """Steps of Dockerfiles: results that are known, and the layers that are kept for them.

    `layers_size` is in bytes; `hollow` are runs of RUN of which no layer is kept; `images` are
    those of which all steps are known.
    """

    results: int
    images: int
    layers: int
    layers_size: int
    hollow: int


class CacheMounts(NamedTuple):
    """Cache mounts of RUN: their number, and the bytes of their archives."""

    number: int
    size: int


class CacheContents(NamedTuple):
    """All that a place holds, `size` bytes of it, of which about `dead` are used by nobody.

    `users` stand in the order of their last builds, the last one first. `signed_by` is the id of
    the key that signed it, as the signature says, empty where there is none; `distrust` why it is
    not the key's that was asked for, empty where it is or none was. `faults` are parts of the index
    that cannot be read.
    """

    place: str
    digest: str
    size: int
    content: int
    dead: int
    packs: tuple[PackContents, ...]
    users: tuple[CacheUser, ...]
    records: tuple[CacheRecord, ...]
    signed_by: str
    checked: bool
    distrust: str
    steps: CacheSteps
    mounts: CacheMounts
    faults: tuple[str, ...]


def inspect_cache(text: str, around: RegistryAround, key: str = "") -> CacheContents:
    """What the place holds that `text` names, as `--cache-from` names it.

    `key` is the file of a key that should have signed it, or empty. Raises `UsageError` where it is
    no cache, `NetworkError` where it cannot be read or is broken, and for a tag that is not there.
    """
    spec = parse_cache_spec(text, "cache inspect", around.cwd)
    signer = cache_key(os.path.join(around.cwd, key)) if key else None
    with Registries(around) as registries:
        holding = Holding(open_place(spec, registries), None, around.cancel)
        found = holding.place.current()
        if found is None:
            raise _missing(spec)
        current = read_index(found.index)
        tables, damaged = _tables(holding, current)
    weights = {digest: _Weights(table) for digest, table in tables.items()}
    packs = tuple(
        _pack(current, pack, weights.get(pack.digest), damaged.get(pack.digest, ""))
        for pack in current.packs
    )
    content = sum(pack.content for pack in packs)
    users = sorted(current.users.items(), key=lambda item: (-item[1].time, item[0]))
    return CacheContents(
        spec.place,
        str(found.digest),
        current.size + len(found.index),
        content,
        sum(round(pack.size * (1 - pack.used)) for pack in packs if pack.used is not None),
        packs,
        tuple(_user(name, user, current, weights, content) for name, user in users),
        tuple(_records(current)),
        _signer(found),
        signer is not None,
        signer.check(found.index, found.signature) if signer is not None else "",
        _steps(current.steps),
        CacheMounts(len(current.mounts), sum(one.blob.size for one in current.mounts.values())),
        current.faults,
    )


class _Weights:
    """A table, and how many bytes of content some of its rows stand for."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.content = table.size

    def of(self, rows: Rows) -> int:
        return sum({row.content: row.size for row in rows_in(self._table, rows)}.values())

    def share(self, rows: Rows) -> float:
        return self.of(rows) / self.content if self.content else float(bool(rows.bits))


def _tables(holding: Holding, current: PackSet) -> tuple[dict[Digest, Table], dict[Digest, str]]:
    """The tables of all packs, and why some cannot be read."""
    try:
        return holding.tables(current.packs), {}
    except NetworkError:
        tables: dict[Digest, Table] = {}
        damaged: dict[Digest, str] = {}
    for pack in current.packs:
        try:
            tables |= holding.tables((pack,))
        except NetworkError as error:
            damaged[pack.digest] = error.what
    return tables, damaged


def _pack(current: PackSet, pack: Pack, weights: _Weights | None, damaged: str) -> PackContents:
    return PackContents(
        str(pack.digest),
        pack.kind,
        pack.blob.size + pack.table.size,
        pack.content if weights is None else weights.content,
        pack.rows,
        pack.made,
        None if weights is None else weights.share(living(current, pack)),
        damaged,
    )


def _user(
    name: str, user: User, current: PackSet, weights: Mapping[Digest, _Weights], content: int
) -> CacheUser:
    used = sum(weights[digest].of(rows) for digest, rows in user.rows.items() if digest in weights)
    shares = tuple(
        weights[pack.digest].share(user.rows.get(pack.digest, Rows()))
        if pack.digest in weights
        else None
        for pack in current.packs
    )
    return CacheUser(name, user.time, used, used / content if content else 0.0, shares)


def _records(current: PackSet) -> Iterator[CacheRecord]:
    for key, record in sorted(current.records.items(), key=lambda item: -item[1].time):
        layers = sum(layer.size for layer in record.layers)
        size = sum(blob.size for blob in (record.blob, *record.modules))
        yield CacheRecord(key, record.time, size, len(record.layers), layers)


def _steps(steps: StepSet) -> CacheSteps:
    # A step has two keys, of what it is and of what it reads.
    results = len({record.stack for record in steps.records.values()})
    hollow = len(steps.hollow)
    return CacheSteps(results, len(steps.results), len(steps.kept), steps.size, hollow)


def _signer(found: Found) -> str:
    """The key's id as the signature has it: `SCHEME:ID:...`."""
    return found.signature.split(":")[1] if found.signature.count(":") == 2 else found.signature


def _missing(spec: CacheSpec) -> UsageError | NetworkError:
    what = f"there is no cache {spec.place}"
    if spec.is_directory:
        return UsageError(what, why=f"nothing is in {spec.path}",
                          hint="name a directory that --cache-to wrote")  # fmt: skip
    return NetworkError(what, why="the registry has no such tag",
                        hint="name a reference that --cache-to wrote")  # fmt: skip
