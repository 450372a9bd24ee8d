# SPDX-License-Identifier: Apache-2.0
"""Values that completion offers: what flags may say, what files beside the user name.

Only what is cheap: a line of `wherry.toml` or of a Dockerfile, the tags of the store. Nothing is
asked of a network, and nothing is written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from wherry.api.places import default_store
from wherry.api.request import DOCKERFILES
from wherry.cli.completion_fields import (
    Values,
    cache_values,
    listed_values,
    output_values,
    secret_values,
)
from wherry.cli.place import working_directory

_PLATFORMS: Final = (
    "linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/386", "linux/amd64/v2",
    "linux/amd64/v3", "linux/ppc64le", "linux/riscv64", "linux/s390x",
)  # fmt: skip
_FIXED: Final = {
    "--base": ("static", "scratch"),
    "--allow": ("network.host", "security.insecure"),
    "--ssh": ("default",),
    "--git": ("branch=", "recurse-submodules=true"),
}
# What stands without a flag: a kind, or the words themselves.
_PLACES: Final = {
    "build": "directories", "lock": "directories", "init": "directories", "run": "images",
    "tag": "images", "rmi": "images", "push": "images", "pull": "images", "inspect": "images",
    "login": "registries", "logout": "registries", "completion": "bash zsh fish",
    "cache inspect": "directories", "check": "files",
}  # fmt: skip
_IMAGE_TABLE: Final = re.compile(
    r"^\s*\[\s*image\s*\.\s*([\w-]+|\"[^\"]+\"|'[^']+')\s*[].]", re.MULTILINE
)
_ARG: Final = re.compile(r"^\s*ARG\s+(.+)$", re.MULTILINE | re.IGNORECASE)
_CACHE_MOUNT: Final = re.compile(r"--mount=(\S*\btype=cache\b\S*)", re.IGNORECASE)
_STAGE: Final = re.compile(r"^\s*FROM\s.*\sAS\s+(\S+)\s*$", re.MULTILINE | re.IGNORECASE)


def known_values(
    flag: str, typed: str, sources: Sequence[str], given: Mapping[str, Sequence[str]]
) -> Values:
    """What may follow `flag` where `typed` stands; `given` are the values of flags before it."""
    file = (given.get("--file") or given.get("--dockerfile") or ("",))[-1]
    named = _NAMED.get(flag)
    if named is not None:
        return named(typed, sources[0] if sources else ".", file)
    match flag:
        case "--platform" | "--custom-platform":
            return listed_values(typed, _PLATFORMS)
        case _ if flag in _FIELDS:
            return _FIELDS[flag](typed)
        case "--base" | "--tag" | "--destination":
            store = given.get("--store", ("",))[-1]
            return Values((*_FIXED.get(flag, ()), *images(store)), "", typed)
        case "--env" | "-e":
            return Values(variables(), "", typed)
        case "--insecure-registry":
            return Values(registries(), "", typed)
    if flag in _PLACE_IN:
        return Values(places=_PLACE_IN[flag](typed))
    return Values(_FIXED.get(flag, ()), "", typed)


def _targets(typed: str, source: str, file: str) -> Values:
    return listed_values(typed, targets(source, file))


def _arguments(typed: str, source: str, file: str) -> Values:
    return _assigned(typed, arguments(source, file))


def _mounts(typed: str, source: str, file: str) -> Values:
    return listed_values(typed, mounts(source, file))


def _rules(typed: str, _source: str, _file: str) -> Values:
    return listed_values(typed, rules())


def _limits(typed: str, _source: str, _file: str) -> Values:
    from wherry.api.step_limits import ULIMITS  # noqa: PLC0415 - for this flag only

    return _assigned(typed, ULIMITS)


# `NAME=DIRECTORY` for a context, `DIRECTORY:…` for a volume.
def _context_place(typed: str) -> str:
    return "directories" if "=" in typed else ""


def _volume_place(typed: str) -> str:
    return "" if ":" in typed else "directories"


# What has names, most of them the project's: images, stages, a Dockerfile's arguments, limits.
_NAMED: Final[Mapping[str, Callable[[str, str, str], Values]]] = {
    "--target": _targets, "--no-cache-filter": _targets, "--build-arg": _arguments,
    "--ulimit": _limits, "--cache-mounts": _mounts, "--ignore": _rules, "--only": _rules,
}  # fmt: skip
_PLACE_IN: Final[Mapping[str, Callable[[str], str]]] = {
    "--build-context": _context_place, "--volume": _volume_place, "-v": _volume_place,
}  # fmt: skip


# What is written as `key=value,key=value`.
_FIELDS: Final[Mapping[str, Callable[[str], Values]]] = {
    "--output": output_values,
    "--secret": lambda typed: secret_values(typed, variables()),
    "--cache-from": lambda typed: cache_values(typed, "--cache-from"),
    "--cache-to": lambda typed: cache_values(typed, "--cache-to"),
}


def _assigned(typed: str, names: Sequence[str]) -> Values:
    """`NAME=`, to be typed on."""
    return Values(tuple(f"{name}=" for name in names), "", typed, is_open=True)


def variables() -> tuple[str, ...]:
    """The names of the environment's variables."""
    return tuple(sorted(os.environ))


def arguments(source: str, file: str) -> tuple[str, ...]:
    """The names of a Dockerfile's ARGs."""
    found: dict[str, None] = {}
    for text in _dockerfiles(source, file):
        for line in _ARG.findall(text):
            found |= dict.fromkeys(word.partition("=")[0] for word in line.split())
    return tuple(found)


def mounts(source: str, file: str) -> tuple[str, ...]:
    """The ids of a Dockerfile's cache mounts, or the targets of those that have none."""
    found: dict[str, None] = {}
    for text in _dockerfiles(source, file):
        for words in _CACHE_MOUNT.findall(text):
            fields = dict(word.partition("=")[::2] for word in words.split(","))
            names = (fields.get(key, "") for key in ("id", "target", "dst", "destination"))
            name = next(filter(None, names), "")
            if name and "$" not in name:
                found[name] = None
    return tuple(found)


def targets(source: str, file: str) -> tuple[str, ...]:
    """The images of SOURCE's `wherry.toml`, or else the stages of its Dockerfile."""
    directory = os.path.join(working_directory(), source.partition("...")[0] or ".")
    if not file:
        named = _IMAGE_TABLE.findall(_read(os.path.join(directory, "wherry.toml")))
        if named:
            return tuple(dict.fromkeys(name.strip("\"'") for name in named))
    for text in _dockerfiles(source, file):
        if stages := _STAGE.findall(text):
            return tuple(dict.fromkeys(stages))
    return ()


def _dockerfiles(source: str, file: str) -> Iterator[str]:
    """The texts of what may be SOURCE's Dockerfile, or of `file`."""
    directory = os.path.join(working_directory(), source.partition("...")[0] or ".")
    for name in (file,) if file else DOCKERFILES:
        yield _read(os.path.join(working_directory() if file else directory, name))


def images(store: str) -> tuple[str, ...]:
    """The names of the store's images; none where there is no store yet."""
    place = store or default_store(os.environ)
    if not os.path.isdir(place):
        return ()
    from wherry.api.library import list_images  # noqa: PLC0415 - for verbs about images only

    return tuple(image.name for image in list_images(place))


def registries() -> tuple[str, ...]:
    """The registries that there are credentials for."""
    from wherry.api.signing_in import signed_in  # noqa: PLC0415 - for two verbs only

    return signed_in(os.environ)


def rules() -> tuple[str, ...]:
    """The ids of what `wherry check` asks."""
    from wherry.advice.catalogue import RULES  # noqa: PLC0415 - for one verb only

    return tuple(rule.id for rule in RULES)


def places(path: str, number: int) -> str:
    """What stands in place `number` (from 0) of a verb.

    That is `images`, `registries`, `files` or `directories`, or the words themselves.
    """
    if path == "run" and number:
        return "files"
    if path in ("completion", "login", "logout", "inspect", "cache inspect") and number:
        return ""
    return _PLACES.get(path, "")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""
