# SPDX-License-Identifier: Apache-2.0
"""Which Go caches a build is asked to use: what flags say, else `[cache]` of the settings file.

A flag replaces the file's value; one that is given empty (`--cache-from=`) leaves it out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from wherry.api.request import BuildRequest
from wherry.errors import UsageError
from wherry.gocache.spec import CacheSpec, parse_cache_spec

if TYPE_CHECKING:
    from wherry.settings.lines import KeyPath
    from wherry.settings.model import Settings


class AskedCaches(NamedTuple):
    """Places to read from, in order, and to write to, and the path of the key's file.

    Without any place there are no caches; without a key nothing is signed or checked.
    """

    sources: tuple[CacheSpec, ...] = ()
    targets: tuple[CacheSpec, ...] = ()
    key: str = ""


def asked_caches(request: BuildRequest, settings: Settings) -> AskedCaches:
    """What holds for `request` under `settings`; nothing is opened.

    Raises `UsageError` for what is no place, at the file's line where the file says it.
    """
    cache = settings.cache
    return AskedCaches(
        _flag_places("--cache-from", request.cache_from, request)
        if request.cache_from
        else _file_places("from", cache.from_ or (), settings),
        _flag_places("--cache-to", request.cache_to, request)
        if request.cache_to
        else _file_places("to", cache.to or (), settings),
        os.path.join(request.cwd, request.cache_key) if request.cache_key else cache.key or "",
    )


def check_cache_flags(request: BuildRequest) -> None:
    """Find what is wrong with the flags alone; raises `UsageError`."""
    _flag_places("--cache-from", request.cache_from, request)
    _flag_places("--cache-to", request.cache_to, request)


def _flag_places(flag: str, texts: tuple[str, ...], request: BuildRequest) -> tuple[CacheSpec, ...]:
    return _each_once(parse_cache_spec(text, flag, request.cwd) for text in texts if text.strip())


def _file_places(key: str, texts: tuple[str, ...], settings: Settings) -> tuple[CacheSpec, ...]:
    found = []
    directory = os.path.dirname(settings.path or "")
    for number, text in enumerate(texts):
        try:
            found.append(parse_cache_spec(text, f"cache.{key}", directory))
        except UsageError as error:
            error.where = _place(("cache", key, number), settings)
            raise
    return _each_once(found)


def _each_once(specs: Iterable[CacheSpec]) -> tuple[CacheSpec, ...]:
    return tuple(dict.fromkeys(specs))


def _place(path: KeyPath, settings: Settings) -> str:
    from wherry.settings.lines import line_of  # noqa: PLC0415 - for a mistake only
    from wherry.settings.model import FILE_NAME  # noqa: PLC0415 - as above

    return f"{os.path.basename(settings.path or FILE_NAME)}:{line_of(settings.lines, path)}"
