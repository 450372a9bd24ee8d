# SPDX-License-Identifier: Apache-2.0
"""Records: small values by kind and key, each pinning the blobs that it speaks of.

A record that is read or written keeps its blobs for as long as the store is open. The time of last
use is written at most once an hour, so that a build in which nothing changed writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from wherry.errors import MachineError
from wherry.oci.digest import Digest
from wherry.store.blobs import Blobs
from wherry.store.database import Database
from wherry.store.session import Session


class Records:
    """The record store; safe for threads and processes."""

    def __init__(self, database: Database, blobs: Blobs, session: Session) -> None:
        self._database = database
        self._blobs = blobs
        self._session = session

    def get(self, kind: str, key: str) -> bytes | None:
        """The value, or None; that its blobs are there is for the caller to ask (`Blobs.has`)."""
        row = self._database.row(
            "SELECT value, used_at, id FROM records WHERE kind = ? AND key = ?", kind, key
        )
        if row is None:
            return None
        value, used_at, record = row
        if not isinstance(value, bytes) or not isinstance(used_at, float):
            raise MachineError(f"the {kind} record {key} in the store is damaged",
                               why="it holds no bytes",
                               hint="name another store with --store")  # fmt: skip
        if used_at < self._session.start:
            self._touch(int(str(record)))
        return value

    def put(self, kind: str, key: str, value: bytes, blobs: Iterable[Digest]) -> None:
        """Store or replace a record; raises `MachineError` if one of its blobs is missing."""
        pinned = tuple(blobs)
        self._blobs.keep(pinned)
        self._session.trace("record-before")
        with self._database.transaction():
            self.write(kind, key, value, pinned)
        self._session.trace("record-after")

    def write(self, kind: str, key: str, value: bytes, blobs: Iterable[Digest]) -> None:
        """`put` for the holder of a transaction, whose blobs are kept already."""
        self._database.rows(
            "INSERT INTO records (kind, key, value, used_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (kind, key) DO UPDATE"
            " SET value = excluded.value, used_at = excluded.used_at",
            kind, key, value, self._session.now(),
        )  # fmt: skip
        row = self._database.row("SELECT id FROM records WHERE kind = ? AND key = ?", kind, key)
        record = row[0] if row else None
        self._database.rows("DELETE FROM pins WHERE record = ?", record)
        for digest in sorted(set(blobs)):
            self._database.rows("INSERT INTO pins VALUES (?, ?)", record, str(digest))

    def delete(self, kind: str, key: str) -> None:
        """Forget a record if it is there; its blobs stay until they are pruned."""
        self._database.rows("DELETE FROM records WHERE kind = ? AND key = ?", kind, key)

    def _touch(self, record: int) -> None:
        rows = self._database.rows("SELECT digest FROM pins WHERE record = ?", record)
        # Blobs first: a fresh record means fresh blobs.
        self._blobs.touch(_digest(str(row[0])) for row in rows)
        try:
            self._database.rows(
                "UPDATE records SET used_at = ? WHERE id = ?", self._session.now(), record
            )
        except MachineError:
            # A full disk must not fail a build that has nothing to write; the blobs are kept.
            return


def _digest(text: str) -> Digest:
    algorithm, _, value = text.partition(":")
    return Digest(algorithm, value)
