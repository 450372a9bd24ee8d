# SPDX-License-Identifier: Apache-2.0
"""The caches around a command of the user's: which ones are asked for, and a store for the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from wherry.api.asked_caches import asked_caches
from wherry.api.cache_traffic import open_traffic
from wherry.api.cached_commands import CommandRequest, cached_command
from wherry.api.growing import open_to_grow
from wherry.api.project_settings import settings_of
from wherry.api.registries import Registries, RegistryAround
from wherry.api.request import BuildRequest
from wherry.errors import UsageError
from wherry.store.go_modules import LISTINGS, path_of


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
    if not asked.places:
        raise UsageError("no cache is named, and so there is nothing to do but the command",
                         why="neither a flag nor [cache] of wherry.toml names one",
                         hint="name one: --cache-from PLACE --cache-to PLACE")  # fmt: skip
    with Registries(around) as registries, open_to_grow(around) as store:
        traffic = open_traffic(asked, registries)
        listings = path_of(around.store, LISTINGS)
        filled = CommandRequest(command.words, around.cwd, around.env, store.scratch(), listings)
        with cached_command(filled, traffic):
            yield
