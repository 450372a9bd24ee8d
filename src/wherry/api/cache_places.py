# SPDX-License-Identifier: Apache-2.0
"""Cache places as the user names them, connected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wherry.api.registries import Registries
from wherry.gocache.places import CachePlace
from wherry.gocache.spec import CacheSpec
from wherry.oci.reference import Reference

if TYPE_CHECKING:
    from wherry.gocache.signing import CacheKey

DEFAULT_TAG: Final = "gocache"
"""The tag of a cache place that is named without one."""


def open_place(spec: CacheSpec, registries: Registries) -> CachePlace:
    """The place of a spec; nothing is asked yet. Raises `UsageError` for a bad name."""
    cancel = registries.around.cancel
    if spec.is_directory:
        from wherry.gocache.directory_place import DirectoryPlace  # noqa: PLC0415 - no HTTP there

        return DirectoryPlace(spec.place, spec.path, cancel)
    from wherry.gocache.registry_place import (  # noqa: PLC0415 - HTTP is imported here
        RegistryPlace,
        Repositories,
    )

    reference = reference_of(spec, registries)
    repository = registries.of(reference)
    wanted = str(reference.digest) if reference.digest is not None else reference.tag
    repositories = Repositories(repository.without_mirrors(), repository)
    return RegistryPlace(spec.place, repositories, wanted, cancel)


def reference_of(spec: CacheSpec, registries: Registries) -> Reference:
    """The reference of a place in a registry.

    Without a tag that is `gocache`, and not `latest`, which is most often an image's.
    """
    reference = registries.reference(spec.place)
    if ":" in spec.place.rpartition("/")[2] or "@" in spec.place:
        return reference
    return reference._replace(tag=DEFAULT_TAG)


def cache_key(path: str) -> CacheKey | None:
    """The key of `--cache-key`; None where none is named. Raises `UsageError`."""
    if not path:
        return None
    from wherry.gocache.signing import load_cache_key  # noqa: PLC0415 - a compiled library

    return load_cache_key(path)
