# SPDX-License-Identifier: Apache-2.0
"""The table `[cache]`: where Go caches come from and go to, and the key that signs them.

What a place may be is read where caches are used, by `wherry.api.asked_caches`: here stands how the
file writes it. Directories are seen from the file's own, as the key is. A project may be somebody
else's, and what it is built with ends up in the user's build cache: which of its places are read,
the user's own file says.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from wherry.errors import UsageError
from wherry.settings import hosts
from wherry.settings.declaration import FilePlace, Kind, setting
from wherry.settings.kinds import list_of, parse_items, parse_text

_FILLED: Final = {"type": "string", "pattern": "^[^\\u0000\\r\\n]+$"}
PLACES_SCHEMA: Final = list_of(_FILLED, "wherry reads references and fields")
KEY_SCHEMA: Final = {"type": "string", "pattern": "^[^\\u0000~][^\\u0000]*$"}


def parse_places(value: object) -> tuple[str, ...]:
    """A list of cache places, each in the form of `--cache-from`."""
    return parse_items(value, _place)


def parse_mounts(value: object) -> tuple[str, ...]:
    """A list of ids of cache mounts, each once."""
    return tuple(dict.fromkeys(parse_items(value, _mount)))


def parse_key(value: object) -> str:
    """The path of a key's file."""
    text = parse_text(value)
    if not text:
        raise UsageError("holds an empty path", hint="name a file")
    if text.startswith("~"):
        raise UsageError(f"{text!r} is below a home directory",
                         why="everybody who builds this project has another one",
                         hint="name a file of the project, or use --cache-key")  # fmt: skip
    return text


def locate_key(path: str, file: FilePlace) -> str:
    """`path` as an absolute one."""
    return os.path.join(os.path.abspath(file.directory), path)


def parse_trust(value: object) -> tuple[str, ...]:
    """A list of registries, with a path or without, and of directories."""
    return tuple(dict.fromkeys(parse_items(value, _trusted)))


def locate_trust(trust: tuple[str, ...], file: FilePlace) -> tuple[str, ...]:
    """`trust` with whole paths of directories."""
    return tuple(
        os.path.normpath(hosts.locate_files((text,), file)[0]) if text[0] in "/~" else text
        for text in trust
    )


PLACES = Kind(
    "list of references or directories",
    parse_places,
    '["registry.example.com/shop/cache:main", "./go-cache"]',
    schema=PLACES_SCHEMA,
)
KEY = Kind("file", parse_key, '"cache.pub"', locate_key, schema=KEY_SCHEMA)
MOUNTS = Kind(
    "list of ids of cache mounts",
    parse_mounts,
    '["npm", "/var/cache/ccache"]',
    schema=list_of(_FILLED, "wherry reads names"),
)
TRUST = Kind(
    "list of registries, repositories or directories",
    parse_trust,
    '["registry.example.com/shop", "~/go-caches"]',
    locate_trust,
    schema=list_of(_FILLED, "wherry reads registries and directories"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """What one file says about Go caches that travel; None is not said.

    `from_` and `to` are in the form of `--cache-from` and `--cache-to`; their directories are
    relative to the file's. `key` is an absolute path.
    """

    from_: tuple[str, ...] | None = setting(
        PLACES,
        "Where Go caches come from: registry references, or directories that begin with `/`, `./` "
        "or `../`, in the order in which they are asked",
        flag="--cache-from",
    )
    to: tuple[str, ...] | None = setting(
        PLACES,
        "Where what a build needed of the Go caches is kept, once its result is delivered",
        flag="--cache-to",
    )
    mounts: tuple[str, ...] | None = setting(
        MOUNTS,
        "Caches of `RUN --mount=type=cache` in a Dockerfile that travel, too: their ids, or the "
        "targets of those that have none",
        flag="--cache-mounts",
    )
    key: str | None = setting(
        KEY,
        "The Ed25519 key that caches have to be signed with, a PEM file; a private one signs, too",
        flag="--cache-key",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UserCacheSettings:
    """What the user's own file says about Go caches: `registry[/path]`, or absolute directories."""

    trust: tuple[str, ...] = setting(
        TRUST,
        "Where the `[cache]` of projects may read: registries, repositories and all below them, "
        "directories and all below them. What flags name is always read, and so is all where `CI` "
        "is set",
        (),
    )


def _trusted(value: object) -> str:
    text = parse_text(value)
    if text.startswith(("/", "~/")):
        return text
    if text.startswith((".", "~")):
        raise UsageError(f"{text!r} is no whole path", hint="begin it with / or ~/")
    return hosts.parse_default(text)


def _mount(value: object) -> str:
    text = parse_text(value)
    if not text.strip():
        raise UsageError("names no cache mount", hint="write its id, or its target")
    if "\n" in text or "\r" in text:
        raise UsageError("names a cache mount with a line break", hint="write it on one line")
    return text.strip()


def _place(value: object) -> str:
    text = parse_text(value)
    if not text:
        raise UsageError("names no place", hint="name a registry reference or a directory")
    if "\n" in text or "\r" in text:
        raise UsageError("names a place with a line break", hint="write it on one line")
    return text
