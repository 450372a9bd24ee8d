# SPDX-License-Identifier: Apache-2.0
"""Where blobs can be had that need not be here: the repositories of lazy layers.

A repository is named as `registry/name`, never with credentials. A source that a record's blob
needs, or that an open store has asked for, is not forgotten for its age: the rule is that of blobs,
with the time of last use in the table. It is where the repository itself says that it has no such
blob.
"""

from __future__ import annotations

from wherry.oci.digest import Digest
from wherry.store.database import Database
from wherry.store.session import Session


class Sources:
    """Repositories by blob digest; safe for threads and processes."""

    def __init__(self, database: Database, session: Session) -> None:
        self._database = database
        self._session = session

    def add(self, digest: Digest, repository: str) -> None:
        """Remember that `repository` holds the blob; writes nothing if that is known already."""
        if repository in self.of(digest):
            return
        with self._session.gate():
            now = self._session.now()
            self._database.rows("INSERT OR IGNORE INTO sources VALUES (?, ?, ?, ?)",
                                str(digest), repository, self._session.clock(), now)  # fmt: skip

    def of(self, digest: Digest) -> tuple[str, ...]:
        """The repositories that hold the blob, the one noted first before the others.

        That is where an image came from; the others are where it was pushed to.
        """
        rows = self._find(digest)
        if rows and min(used_at for _, used_at in rows) < self._session.start:
            # Asked again behind the gate: between the two, the rows may have been removed.
            with self._session.gate():
                self.touch(digest, self._session.now())
            rows = self._find(digest)
        return tuple(name for name, _ in rows)

    def touch(self, digest: Digest, stamp: float) -> bool:
        """Mark the blob's sources as used, for the holder of the gate; whether there are any."""
        rows = self._find(digest)
        if rows and min(used_at for _, used_at in rows) < stamp:
            self._database.rows("UPDATE sources SET used_at = max(used_at, ?) WHERE digest = ?",
                                stamp, str(digest))  # fmt: skip
        return bool(rows)

    def _find(self, digest: Digest) -> list[tuple[str, float]]:
        rows = self._database.rows(
            "SELECT repository, used_at FROM sources WHERE digest = ?"
            " ORDER BY noted_at, repository", str(digest),
        )  # fmt: skip
        return [(str(name), float(str(used_at))) for name, used_at in rows]
