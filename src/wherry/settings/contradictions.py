# SPDX-License-Identifier: Apache-2.0
"""What is right by itself and wrong together: keys of one image, or two images.

An error is told at the line of the key that has to give way, and names the line of the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from wherry.errors import UsageError
from wherry.oci.reference import DEFAULT_REGISTRY
from wherry.settings.declaration import key_of
from wherry.settings.image_values import tag_identity
from wherry.settings.kinds import BASES
from wherry.settings.lines import line_of, name_of
from wherry.settings.model import FILE_NAME, ImageDefaults, Settings

if TYPE_CHECKING:
    from wherry.settings.lines import KeyPath

# Where, and what.
Contradiction = tuple["KeyPath", UsageError]

_GZIP = "gzip"
_LEVELS = {_GZIP: (0, 9), "zstd": (1, 22)}
_STATIC_LINK = "-static"


def contradictions(settings: Settings) -> tuple[Contradiction, ...]:
    """The place and the words of each, once also where `[build]` says it for many images."""
    found: dict[KeyPath, UsageError] = {}
    for places, outcome in _outcomes(settings):
        for path, error in (*_c_library(places, outcome), *_level(places, outcome)):
            found.setdefault(path, error)
    for path, error in (*_names(settings), *_tags(settings)):
        found.setdefault(path, error)
    return tuple(found.items())


class Places:
    """Where the keys of one image stand: in its own table, else in `[build]`."""

    def __init__(self, settings: Settings, image: str) -> None:
        self._lines = settings.lines
        self._image = image

    def path(self, key: str) -> KeyPath:
        """The place of `key`: the image's own table where that says it."""
        own = ("image", self._image, key)
        return own if own in self._lines else ("build", key)

    def shown(self, key: str) -> str:
        """The place of `key` for people: `build.base in wherry.toml:3`."""
        return _shown(self._lines, self.path(key))


def _shown(lines: Mapping[KeyPath, int], path: KeyPath) -> str:
    return f"{name_of(path)} in {FILE_NAME}:{line_of(lines, path)}"


def _outcomes(settings: Settings) -> Iterator[tuple[Places, ImageDefaults]]:
    for image in settings.images:
        yield Places(settings, image.name), settings.resolved(image)
    if not settings.images:
        yield Places(settings, ""), settings.build


def _c_library(places: Places, outcome: ImageDefaults) -> Iterator[Contradiction]:
    """cgo links against a C library, which the composed bases do not hold."""
    if not outcome.cgo or outcome.base not in BASES or outcome.libc_base:
        return
    if any(_STATIC_LINK in flag for flag in outcome.ldflags or ()):
        return
    path = places.path("base")
    yield (
        path,
        UsageError(
            f"{name_of(path)}: {outcome.base!r} holds no C library",
            why=f"cgo = true wants one: {places.shown('cgo')}",
            hint="name a base with one, add libc-base, or link with -extldflags=-static",
        ),
    )


def _level(places: Places, outcome: ImageDefaults) -> Iterator[Contradiction]:
    """Each compression has levels of its own, and no compression has none."""
    level = outcome.compression_level
    if level is None:
        return
    compression = outcome.compression or _GZIP
    least, greatest = _LEVELS.get(compression, (0, -1))
    if least <= level <= greatest:
        return
    path = places.path(key_of("compression_level"))
    known = f"{compression} has levels {least} to {greatest}"
    why = f"{places.shown('compression')} says so"
    hint = f"choose one of them, or {'zstd' if compression == _GZIP else _GZIP}"
    if greatest < 0:
        known, hint = f"{compression} layers have no level", "leave one of the two out"
    elif outcome.compression is None:
        why, hint = "gzip is what holds where compression is not said", 'add compression = "zstd"'
    yield path, UsageError(f"{name_of(path)}: {level}, but {known}", why=why, hint=hint)


def _names(settings: Settings) -> Iterator[Contradiction]:
    """Names become files and tags, which some machines compare without case."""
    seen: dict[str, str] = {}
    for image in settings.images:
        other = seen.setdefault(image.name.lower(), image.name)
        if other != image.name:
            first = _shown(settings.lines, ("image", other))
            yield (
                ("image", image.name),
                UsageError(
                    f"image.{image.name} differs from another image only in case",
                    why=f"the other is {first}",
                    hint="give one of them another name",
                ),
            )


def _tags(settings: Settings) -> Iterator[Contradiction]:
    """One tag can mean one image only."""
    default = settings.registry.default or DEFAULT_REGISTRY
    seen: dict[object, KeyPath] = {}
    for image in settings.images:
        for index, tag in enumerate(image.tags):
            path: KeyPath = ("image", image.name, "tags", index)
            try:
                other = seen.setdefault(tag_identity(tag, default), path)
            except UsageError as error:
                yield path, error
                continue
            if other != path:
                yield path, _twice(settings, tag, path, other)


def _twice(settings: Settings, tag: str, path: KeyPath, other: KeyPath) -> UsageError:
    return UsageError(
        f"{name_of(path)}: {tag!r} is named twice",
        why=f"it is another image's already: {_shown(settings.lines, other)}"
        if path[1] != other[1]
        else f"first by {_shown(settings.lines, other)}",
        hint="one tag can mean one image only: give one of them another",
    )
