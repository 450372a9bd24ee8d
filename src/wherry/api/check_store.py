# SPDX-License-Identifier: Apache-2.0
"""wherry's store as `wherry check` uses it: opened when first asked, and silent where it cannot be.

Advice does not depend on it: what it keeps saves time, and what lies in it is better known.
"""

from __future__ import annotations

import os
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from wherry.errors import WherryError

if TYPE_CHECKING:
    from wherry.api.registries import RegistryAround
    from wherry.store.store import Store

_ANSWERS: Final = "golist/1"


class CheckStore:
    """The store at `path`, none where that is empty; a context manager, safe to leave open.

    `around` is for a store that images are fetched into: it is then kept below its size.
    `refusals` is as in `wherry.advice.reading.go_answers.Answers`.
    """

    def __init__(
        self, path: str, around: RegistryAround | None = None, *, refusals: bool = False
    ) -> None:
        self.refusals = refusals
        self._path = path
        self._around = around
        self._store: Store | None = None
        self._refused = not path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._store is not None:
            with suppress(WherryError):
                if self._around is not None and kind is None:
                    self._store.enforce_limit()
            self._store.close()
            self._store = None

    def opened(self, *, create: bool = False) -> Store | None:
        """The store; None where there is none (and it is not to be made), or it refuses."""
        if self._store is None and not self._refused:
            if not create and not os.path.isfile(os.path.join(self._path, "state.db")):
                return None
            try:
                self._store = self._open()
            except (WherryError, OSError):
                self._refused = True
        return self._store

    def _open(self) -> Store:
        if self._around is not None:
            from wherry.api.growing import open_to_grow  # noqa: PLC0415 - only to fetch

            return open_to_grow(self._around)
        from wherry.store.store import open_store  # noqa: PLC0415 - SQLite, only where it is

        return open_store(self._path)

    def get(self, key: str) -> bytes | None:
        """What Go said, as `wherry.advice.reading.go_answers.Answers` has it."""
        return self.record(_ANSWERS, key)

    def put(self, key: str, value: bytes) -> None:
        """As there; makes the store where there is none."""
        self.keep(_ANSWERS, key, value)

    def record(self, kind: str, key: str) -> bytes | None:
        """A record of the store, None without one."""
        store = self.opened()
        try:
            return store.records.get(kind, key) if store is not None else None
        except (WherryError, OSError):
            return None

    def keep(self, kind: str, key: str, value: bytes) -> None:
        """Keep a record, if that can be."""
        store = self.opened(create=True)
        try:
            if store is not None:
                store.records.put(kind, key, value, ())
        except (WherryError, OSError):
            self._refused = True
