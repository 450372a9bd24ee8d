# SPDX-License-Identifier: Apache-2.0
"""Flags of `go build` as `.ko.yaml` gives them -> wherry's own keys; the others are told.

ko passes each item of `flags` to go as one word. Here `-tags`, `-gcflags`, `-ldflags` and
`-buildvcs` become settings, what changes no program is dropped, and for the rest GOFLAGS is named.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from wherry.errors import UsageError
from wherry.settings.go_values import parse_build_tags

# Flags that take a value, also as the next word.
_VALUED: Final = frozenset((
    "tags", "gcflags", "ldflags", "asmflags", "gccgoflags", "mod", "modfile", "overlay", "p", "pgo",
    "pkgdir", "toolexec", "buildmode", "compiler", "installsuffix", "covermode", "coverpkg", "C",
    "o",
))  # fmt: skip
# They change what go prints or how it works, not the program; or they are wherry's own defaults.
_IDLE: Final = frozenset(("a", "v", "x", "work", "p", "modcacherw", "trimpath"))
# What go does by itself.
_IDLE_VALUES: Final = frozenset((("mod", "readonly"), ("mod", "vendor"), ("pgo", "auto")))
_BOOLEANS: Final = {"": True, "true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class GoFlags:
    """What flags mean as settings; `unknown` are words for notes."""

    build_tags: tuple[str, ...] = ()
    gcflags: tuple[str, ...] = ()
    ldflags: tuple[str, ...] = ()
    stamp: str = "off"
    unknown: tuple[str, ...] = ()


def map_flags(words: tuple[str, ...], before: GoFlags | None = None) -> GoFlags:
    """The meaning of `words`, on top of that of the flags `before` them; the last of one counts.

    Raises `UsageError` for a value that is none.
    """
    found = before or GoFlags()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or not name or " " in name:
            found = _untold(found, f"{word!r} is no flag of go build")
            continue
        if name in _VALUED and not equals:
            if not rest:
                raise UsageError(f"-{name} needs a value", hint=f"write it as -{name}=VALUE")
            value = rest.pop(0)
        found = _with(found, name, value)
    return found


def _with(found: GoFlags, name: str, value: str) -> GoFlags:
    match name:
        case "tags" if "{{" in value:
            return _untold(found, f"-tags={value} is left out: build-tags take no templates")
        case "tags":
            tags = tuple(value.replace(",", " ").split())
            return replace(found, build_tags=parse_build_tags(list(tags)))
        case "gcflags":
            return replace(found, gcflags=(value,) if value else ())
        case "ldflags":
            return replace(found, ldflags=(value,) if value else ())
        case "buildvcs" if value in _BOOLEANS:
            return replace(found, stamp="full" if _BOOLEANS[value] else "off")
        case "buildvcs" if value == "auto":
            return found
    if name in _IDLE or (name, value) in _IDLE_VALUES:
        return found
    return _untold(found, f"-{name} has no key in wherry.toml: set it in GOFLAGS for the build")


def _untold(found: GoFlags, line: str) -> GoFlags:
    return replace(found, unknown=(*found.unknown, line))
