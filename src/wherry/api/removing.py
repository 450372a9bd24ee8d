# SPDX-License-Identifier: Apache-2.0
"""Removal of trees whose files belong to a mapping's ids, for stores of ordinary users.

The store renames such trees out of sight and can do no more: the plain user may neither read nor
remove them. The namespace worker may, and is started only where there is something left for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from wherry.events import Level, Message, Sink, discard

if TYPE_CHECKING:
    from wherry.store.trash import Remover


def namespace_remover(store: str, env: Mapping[str, str], sink: Sink = discard) -> Remover:
    """What `open_store` takes as `remover` for the store at `store`; `env` has the user's PATH.

    It raises `MachineError` with the remedy where this machine refuses namespaces. `sink` hears
    what the worker has to say. Making it costs nothing.
    """

    def remove(paths: tuple[str, ...]) -> None:
        # Late, for speed: hardly any command has such trees to remove.
        from wherry.sandbox.namespace import Namespace, NamespaceOptions  # noqa: PLC0415
        from wherry.sandbox.rundir import Workplace, run_directory  # noqa: PLC0415

        place = Workplace(os.path.join(store, "tmp"), os.path.join(store, "locks"))
        search_path = env.get("PATH", os.defpath)
        with run_directory(place) as own:
            options = NamespaceOptions(search_path, own.path, own.lock, say=_saying(sink))
            with Namespace(options) as namespace:
                namespace.remove(paths)

    return remove


def _saying(sink: Sink) -> Callable[[str], None]:
    return lambda line: sink(Message(Level.INFO, line))
