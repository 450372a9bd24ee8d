# SPDX-License-Identifier: Apache-2.0
"""Values that completion offers: what flags may say, what files beside the user name.

Only what is cheap: a line of `wherry.toml` or of a Dockerfile, the tags of the store. Nothing is
asked of a network, and nothing is written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from wherry.api.places import default_store
from wherry.api.request import DOCKERFILES
from wherry.cli.place import working_directory

_PLATFORMS: Final = (
    "linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/386", "linux/amd64/v2",
    "linux/amd64/v3", "linux/ppc64le", "linux/riscv64", "linux/s390x",
)  # fmt: skip
_TYPES: Final = ("oci", "docker", "image", "registry", "local", "tar")
_OUTPUT_KEYS: Final = ("dest=", "name=", "push=true", "tar=false", "compression=")
_COMPRESSIONS: Final = ("gzip", "zstd", "uncompressed")
_FIXED: Final = {
    "--base": ("static", "scratch"),
    "--allow": ("network.host", "security.insecure"),
    "--ssh": ("default",),
}
# What stands without a flag: a kind, or the words themselves.
_PLACES: Final = {
    "build": "directories", "lock": "directories", "init": "directories", "run": "images",
    "tag": "images", "rmi": "images", "push": "images", "completion": "bash zsh fish",
}  # fmt: skip
_IMAGE_TABLE: Final = re.compile(
    r"^\s*\[\s*image\s*\.\s*([\w-]+|\"[^\"]+\"|'[^']+')\s*[].]", re.MULTILINE
)
_STAGE: Final = re.compile(r"^\s*FROM\s.*\sAS\s+(\S+)\s*$", re.MULTILINE | re.IGNORECASE)


class Values(NamedTuple):
    """Words for the part `typed` of a value that begins with `head`; the shell's `places`."""

    words: tuple[str, ...] = ()
    head: str = ""
    typed: str = ""
    places: str = ""
    is_open: bool = False


def known_values(
    flag: str, typed: str, sources: Sequence[str], given: Mapping[str, Sequence[str]]
) -> Values:
    """What may follow `flag` where `typed` stands; `given` are the values of flags before it."""
    if flag in _FIXED:
        return Values(_FIXED[flag], "", typed)
    if flag == "--platform":
        head, comma, last = typed.rpartition(",")
        named = set(head.split(","))
        left = tuple(platform for platform in _PLATFORMS if platform not in named)
        return Values(left, head + comma, last)
    if flag == "--output":
        return _output(typed)
    if flag in ("--target", "--no-cache-filter"):
        files = given.get("--file", ())
        return Values(targets(sources[0] if sources else ".", files[-1] if files else ""), "",
                      typed)  # fmt: skip
    if flag == "--secret" and "src=" in typed:
        return Values(places="files")
    return Values()


def targets(source: str, file: str) -> tuple[str, ...]:
    """The images of SOURCE's `wherry.toml`, or else the stages of its Dockerfile."""
    directory = os.path.join(working_directory(), source.partition("...")[0] or ".")
    if not file:
        named = _IMAGE_TABLE.findall(_read(os.path.join(directory, "wherry.toml")))
        if named:
            return tuple(dict.fromkeys(name.strip("\"'") for name in named))
    for name in (file,) if file else DOCKERFILES:
        place = os.path.join(working_directory() if file else directory, name)
        if stages := _STAGE.findall(_read(place)):
            return tuple(dict.fromkeys(stages))
    return ()


def images(store: str) -> tuple[str, ...]:
    """The names of the store's images; none where there is no store yet."""
    place = store or default_store(os.environ)
    if not os.path.isdir(place):
        return ()
    from wherry.api.library import list_images  # noqa: PLC0415 - for verbs about images only

    return tuple(image.name for image in list_images(place))


def places(path: str, number: int) -> str:
    """What stands in place `number` (from 0) of a verb: `images`, `files`, `directories`, words."""
    if path == "run" and number:
        return "files"
    if path == "completion" and number:
        return ""
    return _PLACES.get(path, "")


def _output(typed: str) -> Values:
    head, comma, last = typed.rpartition(",")
    key, equals, value = last.partition("=")
    if not equals:
        first = (f"type={kind}" for kind in _TYPES)
        words = _OUTPUT_KEYS if comma else tuple(first)
        return Values(words, head + comma, last, is_open=True)
    if key == "type":
        return Values(_TYPES, f"{head}{comma}type=", value, is_open=True)
    if key == "compression":
        return Values(_COMPRESSIONS, f"{head}{comma}compression=", value, is_open=True)
    return Values(places="files") if key == "dest" else Values()


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""
