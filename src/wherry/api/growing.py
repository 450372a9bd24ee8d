# SPDX-License-Identifier: Apache-2.0
"""Opening the store for what makes it larger, and may have to make room at its end."""

from __future__ import annotations

from wherry.api.registries import RegistryAround
from wherry.api.removing import namespace_remover
from wherry.api.store_limit import StoreLimit
from wherry.store.store import Store, open_store


def open_to_grow(around: RegistryAround) -> Store:
    """The store with the cap that holds where `around` is; its user calls `enforce_limit`.

    Raises what `open_store` raises, and `UsageError` for a bad file of settings: before the work,
    not after it.
    """
    remover = namespace_remover(around.store, around.env, around.sink)
    limit = StoreLimit(around.cwd, around.env)
    limit()
    return open_store(around.store, limit, sink=around.sink, remover=remover)
