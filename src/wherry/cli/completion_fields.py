# SPDX-License-Identifier: Apache-2.0
"""Values of several fields, as `type=oci,dest=a.tar`: what may stand in the field being typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

_BOOLEANS: Final = ("true", "false")
_COMPRESSION: Final = ("compression", "compression-level", "force-compression")
# What `exporters.spec` takes, by the output's type.
OUTPUT_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "oci": ("dest", "name", "tar", "oci-mediatypes", *_COMPRESSION),
    "docker": ("dest", "name", "tar", "context", "oci-mediatypes", *_COMPRESSION),
    "tar": ("dest", "platform-split"),
    "local": ("dest", "platform-split"),
    "registry": ("name", "oci-mediatypes", *_COMPRESSION),
    "image": ("name", "push", "oci-mediatypes", *_COMPRESSION),
}
_OUTPUT_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "type": tuple(OUTPUT_KEYS),
    "compression": ("gzip", "zstd", "uncompressed"),
    **dict.fromkeys(
        ("tar", "push", "oci-mediatypes", "force-compression", "platform-split"), _BOOLEANS
    ),
}
# What `gocache.spec` takes, by the flag.
CACHE_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "--cache-from": ("ref", "src", "ignore-error"),
    "--cache-to": (
        "ref", "dest", "ignore-error", "private", "paths", "modules", "layers", "mode",
        "max-size",
    ),
}  # fmt: skip
_CACHE_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "modules": ("auto", "off"),
    "mode": ("max", "min"),
    **dict.fromkeys(("ignore-error", "private", "paths", "layers"), _BOOLEANS),
}


class Values(NamedTuple):
    """Words for the part `typed` of a value that begins with `head`; the shell's `places`."""

    words: tuple[str, ...] = ()
    head: str = ""
    typed: str = ""
    places: str = ""
    is_open: bool = False


def output_values(typed: str) -> Values:
    """The fields of `--output`: keys that its type takes and that are not there yet."""

    def keys(given: Mapping[str, str]) -> Sequence[str]:
        of_type = OUTPUT_KEYS.get(given.get("type", ""))
        return of_type or tuple(dict.fromkeys(key for own in OUTPUT_KEYS.values() for key in own))

    def first(_given: Mapping[str, str]) -> Sequence[str]:
        return [f"type={kind}" for kind in OUTPUT_KEYS]

    return _fields(typed, keys if "," in typed else first, _OUTPUT_VALUES, "dest")


def secret_values(typed: str, variables: Sequence[str]) -> Values:
    """The fields of `--secret`: its source is a file or one of the `variables`."""

    def keys(given: Mapping[str, str]) -> Sequence[str]:
        return () if given.keys() & {"src", "env"} else ("id", "src", "env", "type")

    values = {"type": ("file", "env"), "env": tuple(variables)}
    return _fields(typed, keys, values, "src")


def cache_values(typed: str, flag: str) -> Values:
    """A directory, or the fields of a Go cache's place."""
    if typed[:1] in ("", "/", "."):
        return Values(places="directories")
    if "," not in typed:
        return Values(("type=wherry,",), "", typed, is_open=True)

    def keys(given: Mapping[str, str]) -> Sequence[str]:
        named = given.keys() & {"ref", "src", "dest"}
        return [key for key in CACHE_KEYS[flag] if not named or key not in ("ref", "src", "dest")]

    directory = "src" if flag == "--cache-from" else "dest"
    return _fields(typed, keys, _CACHE_VALUES, directory, "directories")


def listed_values(typed: str, words: Sequence[str]) -> Values:
    """One of `words`, or several parted by commas, each once."""
    head, comma, last = typed.rpartition(",")
    given = head.split(",")
    return Values(tuple(word for word in words if word not in given), head + comma, last)


def _fields(
    typed: str,
    keys: Callable[[Mapping[str, str]], Sequence[str]],
    values: Mapping[str, Sequence[str]],
    path_key: str,
    kind: str = "files",
) -> Values:
    head, comma, last = typed.rpartition(",")
    key, equals, value = last.partition("=")
    if equals:
        places = kind if key == path_key else ""
        return Values(
            tuple(values.get(key, ())), f"{head}{comma}{key}=", value, places, is_open=not places
        )
    given = dict(field.partition("=")[::2] for field in head.split(",") if field)
    left = (word if "=" in word else f"{word}=" for word in keys(given) if word not in given)
    return Values(tuple(left), head + comma, last, is_open=True)
