# SPDX-License-Identifier: Apache-2.0
"""The caches around a command of the user's: which ones are asked for, and a store for the work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from wherry.api.asked_caches import asked_caches
from wherry.api.cached_commands import CommandRequest, cached_command, open_traffic
from wherry.api.project_settings import settings_of
from wherry.api.registries import Registries, RegistryAround
from wherry.api.removing import namespace_remover
from wherry.api.request import BuildRequest
from wherry.api.store_limit import StoreLimit
from wherry.errors import UsageError
from wherry.events import Level, Message
from wherry.store.store import open_store


class CachedCommand(NamedTuple):
    """A command's words, and caches in the form of `--cache-from`, `--cache-to`, `--cache-key`."""

    words: tuple[str, ...]
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    cache_key: str = ""


@contextmanager
def caches_around(command: CachedCommand, around: RegistryAround) -> Iterator[None]:
    """Fill Go's caches, let the block run the command, and export what it used.

    What flags do not say the settings of the project say. Nothing is exported where the block
    raises. Raises `UsageError` where no cache is named, else as `cached_command` does.
    """
    settings, _, _ = settings_of(around.cwd, around.env)
    request = BuildRequest(
        ".",
        around.cwd,
        around.env,
        around.store,
        cache_from=command.cache_from,
        cache_to=command.cache_to,
        cache_key=command.cache_key,
    )
    asked = asked_caches(request, settings)
    for note in asked.notes:
        around.sink(Message(Level.INFO, note))
    if not asked.sources and not asked.targets and not asked.untrusted:
        raise UsageError("no cache is named, and so there is nothing to do but the command",
                         why="neither a flag nor [cache] of wherry.toml names one",
                         hint="name one: --cache-from PLACE --cache-to PLACE")  # fmt: skip
    with (
        Registries(around) as registries,
        open_store(
            around.store,
            StoreLimit(around.cwd, around.env),
            sink=around.sink,
            remover=namespace_remover(around.store, around.env, around.sink),
        ) as store,
    ):
        traffic = open_traffic(asked.sources, asked.targets, asked.key, registries)
        listings = os.path.join(around.store, "gocache", "listings")
        filled = CommandRequest(command.words, around.cwd, around.env, store.scratch(), listings)
        with cached_command(filled, traffic):
            yield
