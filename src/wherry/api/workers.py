# SPDX-License-Identifier: Apache-2.0
"""Starting the namespace worker of a build on its store."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from wherry.errors import MachineError
from wherry.sandbox.host_facts import read_facts
from wherry.sandbox.namespace import Namespace, NamespaceOptions
from wherry.sandbox.refusals import Purpose, certain_refusal
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


class Workers:
    """Starts the worker for a store; implements `wherry.engines.local.running.Starter`."""

    def __init__(self, store: Store, env: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._store = store
        self._search_path = env.get("PATH", os.defpath)
        self._say = say

    def start(self) -> Namespace:
        """The worker, to be closed before the store; what asks it first starts it."""
        return Namespace(
            NamespaceOptions(
                search_path=self._search_path,
                directory=os.path.join(self._store.scratch(), "worker"),
                lock=self._store.staging_lock(),
                say=self._say,
                probed=_Probed(self._store),
            )
        )

    def refusal(self) -> MachineError | None:
        """Why no worker can work here, where files alone tell that for certain."""
        return certain_refusal(read_facts(self._search_path), Purpose.STEPS)
