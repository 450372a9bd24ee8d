# SPDX-License-Identifier: Apache-2.0
"""Starting the namespace worker of a build on its store."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from wherry.sandbox.namespace import Namespace, NamespaceOptions
from wherry.store.store import Store

_KIND = "runtime/1"
_KEY = "probed"


class _Probed:
    """Which OCI runtime was proved to work; implements `wherry.sandbox.namespace.Memory`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self) -> str:
        value = self._store.records.get(_KIND, _KEY)
        return value.decode() if value is not None else ""

    def save(self, text: str) -> None:
        self._store.records.put(_KIND, _KEY, text.encode(), ())


def worker_of(store: Store, env: Mapping[str, str], say: Callable[[str], None]) -> Namespace:
    """The worker for the snapshots of `store`, to be closed before it; starts when first asked."""
    return Namespace(
        NamespaceOptions(
            search_path=env.get("PATH", os.defpath),
            directory=os.path.join(store.scratch(), "worker"),
            lock=store.staging_lock(),
            say=say,
            probed=_Probed(store),
        )
    )
