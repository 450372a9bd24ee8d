# SPDX-License-Identifier: Apache-2.0
"""The caches that a build is asked to use, opened; nothing heavy is imported for none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.api.asked_caches import AskedCaches, asked_caches
from wherry.api.asked_mounts import asked_mounts, check_mount_flags
from wherry.api.project_settings import settings_beside, settings_of
from wherry.api.recorded import directory_of
from wherry.api.registries import Registries
from wherry.api.request import BuildRequest
from wherry.events import Level, Message
from wherry.store.store import Store

if TYPE_CHECKING:
    from wherry.api.caching import TravellingCaches
    from wherry.api.travelling_steps import TravellingSteps


def open_go_caches(
    request: BuildRequest, store: Store, registries: Registries
) -> TravellingCaches | None:
    """The caches of a build of Go programs, asked for what they hold; None where there are none.

    Raises `UsageError` for what is no place, and for a bad key.
    """
    settings, _, _ = settings_of(directory_of(request)[0], request.env)
    asked = asked_caches(request, settings)
    if not asked.places:
        return None
    from wherry.api.cache_traffic import open_traffic  # noqa: PLC0415 - few builds have any
    from wherry.api.caching import TravellingCaches  # noqa: PLC0415 - as above

    traffic = open_traffic(asked, registries)
    if not traffic.sources and not traffic.targets:
        return None
    return TravellingCaches(traffic, request, store)


def open_step_caches(
    request: BuildRequest, store: Store, registries: Registries
) -> TravellingSteps | None:
    """As `open_go_caches`, of a Dockerfile's build."""
    check_mount_flags(request)
    settings = settings_beside(request)
    asked, mounts = asked_caches(request, settings), asked_mounts(request, settings)
    if not asked.places:
        if mounts:
            text = "--cache-mounts: nothing travels without --cache-from or --cache-to"
            registries.around.sink(Message(Level.WARNING, text))
        return None
    if request.no_cache:
        asked = asked._replace(sources=())
    return _opened(asked, mounts, request, store, registries)


def _opened(
    asked: AskedCaches,
    mounts: tuple[str, ...],
    request: BuildRequest,
    store: Store,
    registries: Registries,
) -> TravellingSteps | None:
    from wherry.api.cache_traffic import open_traffic  # noqa: PLC0415 - few builds have any
    from wherry.api.travelling_steps import TravellingSteps  # noqa: PLC0415 - as above

    traffic = open_traffic(asked, registries, "cache")
    if not traffic.sources and not traffic.targets:
        return None
    return TravellingSteps(traffic, mounts, request, store)
