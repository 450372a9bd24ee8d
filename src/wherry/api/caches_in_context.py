# SPDX-License-Identifier: Apache-2.0
"""Cache directories that lie in a build context: they are left out of it.

A build that copied the cache which it writes would never be unchanged, and its image would hold the
cache, which then holds the image. What is left out counts as not there. It is no ignore rule: `!`
cannot bring it back, and where nothing of a cache lies in the context, a build is the same whatever
caches it names. All places that flags or the settings file name count, in use or not, so that one
that is not trusted on this machine does not end up in the image. But a directory that holds other
files and no cache was named by mistake, and is built from.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from wherry.api.recorded import directory_of
from wherry.api.request import BuildRequest
from wherry.golang.root import module_root
from wherry.settings.files import FILE_NAME


def cache_directories(request: BuildRequest) -> tuple[str, ...]:
    """The absolute paths of the cache directories that the build of a Dockerfile names.

    Raises `UsageError` or `SeveralErrors` for settings or flags that cannot be read.
    """
    if not (request.cache_from or request.cache_to or _has_settings(request)):
        return ()
    from wherry.api.asked_caches import named_directories  # noqa: PLC0415 - few builds have any
    from wherry.api.project_settings import settings_beside  # noqa: PLC0415 - as above

    return named_directories(request, settings_beside(request))


def _has_settings(request: BuildRequest) -> bool:
    """Whether a file may name caches: asked in each build, and most projects have none."""
    directory, _ = directory_of(request)
    return os.path.lexists(os.path.join(module_root(directory) or directory, FILE_NAME))


def paths_below(place: str, directories: Iterable[str]) -> frozenset[str]:
    """Those of the directories that lie below `place`, as paths below it, links followed."""
    found = [os.path.realpath(directory) for directory in directories]
    if not found:
        return frozenset()
    from wherry.gocache.image_layout import holds_others  # noqa: PLC0415 - as above

    prefix = os.path.realpath(place).rstrip("/") + "/"
    return frozenset(
        path.removeprefix(prefix)
        for path in found
        if path.startswith(prefix) and not holds_others(_names(path))
    )


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
