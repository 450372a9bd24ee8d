# SPDX-License-Identifier: Apache-2.0
"""What a build gives to one cache place: new rows as a pack, who used what, records.

Everything is computed from what the place holds at the moment of writing, and once more where
another exporter was faster; packs that are uploaded already serve again.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from wherry.errors import NetworkError
from wherry.gocache.compaction import fitting, make_plan
from wherry.gocache.importing import Holding
from wherry.gocache.mount_records import MountChange, merged_mounts
from wherry.gocache.pack import Read, write_pack
from wherry.gocache.pack_index import OtherRelease, encode_index
from wherry.gocache.pack_set import (
    PACK_TYPE,
    TABLE_TYPE,
    Change,
    Pack,
    PackSet,
    RecordBlob,
    applied,
)
from wherry.gocache.places import BytesBlob, Document, FileBlob, Found
from wherry.gocache.step_records import (
    StepChange,
    StepSet,
    bounded_steps,
    fitting_steps,
    merged_steps,
)
from wherry.gocache.table import BadPack, Row, Table, encode_table
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import Descriptor
from wherry.process.cancel import CancelToken
from wherry.registry.model import BlobSource


class Signer(Protocol):
    """A key that signs indexes."""

    def sign(self, index: bytes) -> str:
        """The signature of an index, as text."""


class Material(NamedTuple):
    """The rows of one kind that a build used, and how to read and find them.

    `at_hand` tells whether the bytes of a row are here, also of one that another build used.
    """

    rows: Sequence[Row]
    read: Read
    at_hand: Callable[[Row], bool]


class Offer(NamedTuple):
    """All that a build has for a cache: `user` names it, `most` bytes is what a set may take.

    Without a user there are no materials, and packs stay as they are. `records` are travelling
    records by key, `steps` those of a Dockerfile; `blobs` have to be put for all of them.
    """

    user: str
    materials: Mapping[str, Material]
    most: int
    records: Mapping[str, RecordBlob] = {}
    blobs: Sequence[BlobSource] = ()
    steps: StepChange | None = None
    mounts: MountChange = MountChange()


class Exported(NamedTuple):
    """What an export did: bytes that were sent, and what the place holds now."""

    uploaded: int
    size: int
    tries: int


class Exporter:
    """Exports one offer to one place; `scratch` is a directory for packs on their way."""

    def __init__(
        self,
        holding: Holding,
        offer: Offer,
        scratch: str,
        cancel: CancelToken,
        signer: Signer | None = None,
    ) -> None:
        self._holding = holding
        self._offer = offer
        self._scratch = scratch
        self._cancel = cancel
        self._signer = signer
        self._uploaded = 0
        self._size = 0
        self._packs: dict[tuple[str, tuple[str, ...]], tuple[Pack, Table] | None] = {}
        self._kept: dict[Digest, BlobSource] = {}

    def run(self) -> Exported:
        """Export; raises what the place raises, and `Cancelled`."""
        place = self._holding.place
        try:
            for blob in self._offer.blobs:
                self._put(blob)
            published = place.publish(self._merged)
        finally:
            place.close()
        return Exported(self._uploaded, self._size, published.tries)

    def _merged(self, found: Found | None) -> Document | None:
        current, tables = self._current(found)
        after = _with_sections(self._changed(current, tables), self._offer)
        self._size = after.size
        if found is not None and _same(current, after):
            return None
        # What others removed since is put once more.
        for blob in after.blobs:
            known = self._kept.get(blob.digest)
            if known is not None:
                self._put(known)
        index = encode_index(after)
        self._size += len(index)
        self._uploaded += len(index)
        signature = self._signer.sign(index) if self._signer is not None else ""
        return Document(index, after.blobs, signature)

    def _current(self, found: Found | None) -> tuple[PackSet, dict[Digest, Table]]:
        """What can be built on: the packs that are not broken, and tables of theirs."""
        if found is None:
            return PackSet(), {}
        try:
            current = self._holding.trusted(found)
        except OtherRelease:
            raise
        except BadPack:
            # Broken, or signed by nobody we trust: begun anew.
            return PackSet(), {}
        if not self._offer.user:
            return current, {}
        # Tables that cannot be read are found out here.
        tables = self._tables(current)
        broken = self._holding.broken
        packs = tuple(pack for pack in current.packs if pack.digest not in broken)
        return current._replace(packs=packs), tables

    def _changed(self, current: PackSet, tables: Mapping[Digest, Table]) -> PackSet:
        offer = self._offer
        if not offer.user:
            return current
        used = {kind: fitting(one.rows, offer.most) for kind, one in offer.materials.items()}
        keys = {kind: frozenset(row.key for row in rows) for kind, rows in used.items()}
        change = Change(offer.user, int(time.time()), keys, records=offer.records)
        plan = make_plan(current, change, used, tables, self._at_hand, offer.most)
        packs = [self._pack(kind, rows) for kind, rows in plan.rows.items()]
        added = tuple(pack for pack in packs if pack is not None)
        return applied(
            current,
            change._replace(added=added, replaced=plan.replaced, dropped=plan.dropped),
            tables,
        )

    def _tables(self, current: PackSet) -> dict[Digest, Table]:
        found: dict[Digest, Table] = {}
        for pack in current.packs:
            # Broken, or not to be had just now: then nobody knows what is in it.
            with suppress(NetworkError):
                found[pack.digest] = self._holding.table(pack)
        return found

    def _at_hand(self, kind: str, row: Row) -> bool:
        material = self._offer.materials.get(kind)
        return material is not None and material.at_hand(row)

    def _pack(self, kind: str, rows: tuple[Row, ...]) -> tuple[Pack, Table] | None:
        """A pack of these rows, written and put once; None where none of them is there."""
        name = (kind, tuple(row.key for row in rows))
        if name not in self._packs:
            self._packs[name] = self._written(kind, rows)
        return self._packs[name]

    def _written(self, kind: str, rows: tuple[Row, ...]) -> tuple[Pack, Table] | None:
        path = os.path.join(self._scratch, f"pack-{len(self._packs)}")
        hasher = hashlib.sha256()
        with open(path, "xb") as file:

            def out(data: bytes) -> None:
                hasher.update(data)
                file.write(data)

            read = self._offer.materials[kind].read
            table = write_pack(kind, rows, read, out, self._cancel).table
            size = file.tell()
        if not table.rows:
            os.unlink(path)
            return None
        blob = Descriptor(PACK_TYPE, Digest("sha256", hasher.hexdigest()), size)
        encoded = encode_table(table)
        described = Descriptor(TABLE_TYPE, sha256(encoded), len(encoded))
        self._put(FileBlob(blob, path))
        self._put(BytesBlob(described, encoded))
        pack = Pack(kind, blob, described, table.size, len(table.rows), int(time.time()))
        return pack, table

    def _put(self, blob: BlobSource) -> None:
        self._kept[blob.descriptor.digest] = blob
        self._uploaded += self._holding.place.put(blob)


def fitting_change(current: PackSet, change: StepChange, most: int) -> StepChange:
    """The change of steps that a place with `current` has room for, in `most` bytes."""
    return fitting_steps(current.steps, change, _room(current._replace(steps=StepSet()), most))


def _with_sections(current: PackSet, offer: Offer) -> PackSet:
    """The set with what the offer has of cache mounts, which the user named, and of steps."""
    steps, mounts = current.steps, current.mounts
    others = current._replace(steps=StepSet(), mounts={}, faults=())
    if offer.mounts.used or offer.mounts.written:
        mounts = merged_mounts(mounts, offer.mounts, _room(others, offer.most))
    others = others._replace(mounts=mounts)
    room = _room(others, offer.most)
    if offer.steps is not None:
        steps = merged_steps(steps, offer.steps, room)
    elif steps.size > room:
        steps = bounded_steps(steps, room)
    return others._replace(steps=steps)


def _room(current: PackSet, most: int) -> int:
    """The bytes that are left."""
    return max(0, most - current.size)


def _same(before: PackSet, after: PackSet) -> bool:
    """Whether a change changes nothing that anybody needs: times alone are no reason to write."""

    def essence(one: PackSet) -> tuple[object, ...]:
        users = {name: dict(user.rows) for name, user in one.users.items()}
        records = {key: record._replace(time=0) for key, record in one.records.items()}
        mounts = {key: record._replace(time=0) for key, record in one.mounts.items()}
        return one.packs, users, records, one.steps, mounts

    return essence(before) == essence(after)
