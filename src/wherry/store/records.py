# SPDX-License-Identifier: Apache-2.0
"""Records: small values by kind and key, each pinning the blobs that it speaks of.

A record that is read or written keeps its blobs for as long as the store is open. The time of last
use is written at most once an hour, so that a build in which nothing changed writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from wherry.errors import MachineError
from wherry.oci.digest import Digest
from wherry.store.blobs import Blobs
from wherry.store.database import Database
from wherry.store.session import Session


class Pinning(NamedTuple):
    """A record's value, the blobs it pins, and the time of use that both bear."""

    value: bytes
    blobs: tuple[Digest, ...]
    stamp: float


class _Found(NamedTuple):
    id: int
    value: bytes
    used_at: float
    pins: list[str]


class Records:
    """The record store; safe for threads and processes."""

    def __init__(self, database: Database, blobs: Blobs, session: Session) -> None:
        self._database = database
        self._blobs = blobs
        self._session = session

    def get(self, kind: str, key: str) -> bytes | None:
        """The value, or None; that its blobs are there is for the caller to ask (`Blobs.has`)."""
        found = self._find(kind, key)
        if found is not None and found.used_at < self._session.start:
            # Asked again behind the gate: between the two, record and blobs may have been removed.
            with self._session.gate():
                found = self._find(kind, key)
                if found is not None:
                    self._touch(found)
        if found is None:
            return None
        self._session.note("record", str(found.id))
        return found.value

    def put(self, kind: str, key: str, value: bytes, blobs: Iterable[Digest]) -> None:
        """Store or replace a record; raises `MachineError` if one of its blobs is missing."""
        pinned = tuple(blobs)
        stamp = self._session.now()
        self._blobs.keep(pinned, stamp)
        self._session.trace("record-before")
        with self._database.transaction():
            self.write(kind, key, Pinning(value, pinned, stamp))
        self._session.trace("record-after")

    def write(self, kind: str, key: str, pinning: Pinning) -> None:
        """`put` for the holder of a transaction, whose blobs are kept with the same stamp."""
        self._database.rows(
            "INSERT INTO records (kind, key, value, used_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (kind, key) DO UPDATE"
            " SET value = excluded.value, used_at = excluded.used_at",
            kind, key, pinning.value, pinning.stamp,
        )  # fmt: skip
        row = self._database.row("SELECT id FROM records WHERE kind = ? AND key = ?", kind, key)
        record = row[0] if row else None
        self._session.note("record", str(record))
        self._database.rows("DELETE FROM pins WHERE record = ?", record)
        for digest in sorted(set(pinning.blobs)):
            self._database.rows("INSERT INTO pins VALUES (?, ?)", record, str(digest))

    def delete(self, kind: str, key: str) -> None:
        """Forget a record if it is there; its blobs stay until they are pruned."""
        self._database.rows("DELETE FROM records WHERE kind = ? AND key = ?", kind, key)

    def _find(self, kind: str, key: str) -> _Found | None:
        # One statement: value and pins must be of the same moment.
        row = self._database.row(
            "SELECT id, value, used_at, (SELECT group_concat(digest) FROM pins WHERE record = id)"
            " FROM records WHERE kind = ? AND key = ?", kind, key,
        )  # fmt: skip
        if row is None:
            return None
        record, value, used_at, pins = row
        if not (
            isinstance(record, int) and isinstance(value, bytes) and isinstance(used_at, float)
        ):
            raise MachineError(f"the {kind} record {key} in the store is damaged",
                               why="its fields have other types than they should",
                               hint="name another store with --store")  # fmt: skip
        return _Found(record, value, used_at, str(pins).split(",") if pins else [])

    def _touch(self, found: _Found) -> None:
        stamp = self._session.now()
        # Blobs first: a fresh record means fresh blobs.
        self._blobs.touch(map(_digest, found.pins), stamp)
        try:
            self._database.rows("UPDATE records SET used_at = ? WHERE id = ?", stamp, found.id)
        except MachineError:
            # A full disk must not fail a build that has nothing to write; the blobs are kept.
            return


def _digest(text: str) -> Digest:
    algorithm, _, value = text.partition(":")
    return Digest(algorithm, value)
