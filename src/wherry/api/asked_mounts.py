# SPDX-License-Identifier: Apache-2.0
"""Which cache mounts of RUN are to travel: `--cache-mounts`, else `[cache] mounts`.

A mount is named by the `id` of its instruction, or by its target where it has none, without what
the build argument BUILDKIT_CACHE_MOUNT_NS puts before it. A flag replaces the file's value; one
that is given empty (`--cache-mounts=`) leaves it out.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from wherry.errors import UsageError

if TYPE_CHECKING:
    from wherry.api.request import BuildRequest
    from wherry.settings.model import Settings

_HINT = 'write it as --cache-mounts ID,ID; an id that holds a comma stands in quotes: "a,b"'


def asked_mounts(request: BuildRequest, settings: Settings) -> tuple[str, ...]:
    """The names, each once; raises `UsageError`."""
    if not request.cache_mounts:
        return tuple(dict.fromkeys(settings.cache.mounts or ()))
    return tuple(dict.fromkeys(name for text in request.cache_mounts for name in _names(text)))


def check_mount_flags(request: BuildRequest) -> None:
    """Find what is wrong with the flags alone; raises `UsageError`."""
    for text in request.cache_mounts:
        _names(text)


def _names(text: str) -> tuple[str, ...]:
    if "\0" in text:
        raise UsageError("--cache-mounts holds a NUL character", hint=_HINT)
    try:
        records = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise UsageError(f"--cache-mounts: not a list: {text[:80]!r}", why=str(error),
                         hint=_HINT) from error  # fmt: skip
    if len(records) > 1:
        raise UsageError(f"--cache-mounts: not one line: {text[:80]!r}", hint=_HINT)
    return tuple(name.strip() for record in records for name in record if name.strip())
