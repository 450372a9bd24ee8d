# SPDX-License-Identifier: Apache-2.0
"""Which Go caches a build is asked to use: what flags say, else `[cache]` of the settings file.

A flag replaces the file's value; one that is given empty (`--cache-from=`) leaves it out. What is
read from a cache ends up in the user's Go build cache, where later builds of other projects believe
it; what is written there is written with the user's rights. A project may be a stranger's: places
that its file alone names are used only where the user's own file trusts them, or on a machine of
CI, which has nothing to lose.
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

    Without any place there are no caches; without a key nothing is signed or checked. `untrusted`
    are places that the project's file names and that are not used.
    """

    sources: tuple[CacheSpec, ...] = ()
    targets: tuple[CacheSpec, ...] = ()
    key: str = ""
    untrusted: tuple[CacheSpec, ...] = ()

    @property
    def places(self) -> tuple[CacheSpec, ...]:
        """All that were named, trusted or not."""
        return (*self.sources, *self.targets, *self.untrusted)

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the user."""
        return tuple(
            f"the Go cache {spec.place} of wherry.toml is not used: config.toml does not trust it "
            "([cache] trust); --cache-from and --cache-to use what they name"
            for spec in self.untrusted
        )


def asked_caches(request: BuildRequest, settings: Settings) -> AskedCaches:
    """What holds for `request` under `settings`; nothing is opened.

    Raises `UsageError` for what is no place, at the file's line where the file says it, and what
    reading the user's own file raises.
    """
    cache = settings.cache
    untrusted: tuple[CacheSpec, ...] = ()
    if request.cache_from:
        sources = _flag_places("--cache-from", request.cache_from, request)
    else:
        named = _file_places("from", cache.from_ or (), settings)
        sources = _trusted(named, request, settings)
        untrusted += tuple(spec for spec in named if spec not in sources)
    if request.cache_to:
        targets = _flag_places("--cache-to", request.cache_to, request)
    else:
        named = _file_places("to", cache.to or (), settings)
        targets = _trusted(named, request, settings)
        untrusted += tuple(spec for spec in named if spec not in targets)
    key = os.path.join(request.cwd, request.cache_key) if request.cache_key else cache.key or ""
    places = {spec.place: spec for spec in untrusted}
    return AskedCaches(sources, targets, key, tuple(places.values()))


def named_directories(request: BuildRequest, settings: Settings) -> tuple[str, ...]:
    """The absolute paths of all directories that are named as cache places, in use or not.

    Raises `UsageError` for what is no place.
    """
    cache = settings.cache
    named = (
        *_flag_places("--cache-from", request.cache_from, request),
        *_flag_places("--cache-to", request.cache_to, request),
        *_file_places("from", cache.from_ or (), settings),
        *_file_places("to", cache.to or (), settings),
    )
    return tuple(dict.fromkeys(spec.path for spec in named if spec.is_directory))


def _trusted(
    specs: tuple[CacheSpec, ...], request: BuildRequest, settings: Settings
) -> tuple[CacheSpec, ...]:
    """Those of the places that a project names that may be used."""
    if not specs or request.env.get("CI", "").lower() not in ("", "false", "0"):
        return specs
    from wherry.oci.reference import DEFAULT_REGISTRY  # noqa: PLC0415 - few files name places
    from wherry.settings.user import load_user_file  # noqa: PLC0415 - as above

    user = load_user_file(request.env)
    default = settings.registry.default or user.registry.default or DEFAULT_REGISTRY
    return tuple(
        spec
        for spec in specs
        if any(_is_below(_full_name(spec, default), one) for one in user.cache.trust)
    )


def _full_name(spec: CacheSpec, default: str) -> str:
    """A directory's path, or `registry/repository`."""
    if spec.is_directory:
        return spec.path
    from wherry.oci.reference import parse_reference  # noqa: PLC0415 - as above

    reference = parse_reference(spec.place, default)
    return f"{reference.registry}/{reference.repository}"


def _is_below(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place.rstrip('/')}/")


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
