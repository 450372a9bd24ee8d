# SPDX-License-Identifier: Apache-2.0
"""`-o/--output` as `docker buildx build` writes it: one CSV record of `key=value` fields.

A bare `DIR` means `type=local,dest=DIR`; `type=registry` is short for `type=image,push=true`. Words
of buildx that this release does not bring are known and refused as such, never taken for a spelling
mistake.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from wherry.errors import UsageError, near
from wherry.oci.reference import parse_reference

STDOUT = "-"

_ATTRIBUTES = {
    "oci": ("type", "dest", "tar", "name"),
    "local": ("type", "dest"),
    "registry": ("type", "name"),
    "image": ("type", "name", "push"),
}
_LATER_TYPES = ("docker", "tar", "cacheonly")
_LATER_ATTRIBUTES = (
    "attestation-prefix", "buildinfo", "compression", "compression-level", "context",
    "dangling-name-prefix", "force-compression", "mode", "name-canonical", "oci-mediatypes",
    "platform-split", "push-by-digest", "rewrite-timestamp", "store", "unpack",
)  # fmt: skip
# Ours is a setting of the host, for every use of it.
_INSECURE = ("insecure", "registry.insecure")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class OutputKind(StrEnum):
    """Where an image can be exported to; `IMAGE` is the local store alone."""

    OCI = "oci"
    LOCAL = "local"
    REGISTRY = "registry"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output: `dest` is an absolute path, or `-` for an OCI archive on stdout.

    `tar` is False where an OCI layout is wanted as a directory; `names` are references that the
    output alone carries, beside the image's tags. For `REGISTRY` and `IMAGE`, `dest` is empty and
    `names` replace the image's tags where there are any.
    """

    kind: OutputKind
    dest: str
    tar: bool = True
    names: tuple[str, ...] = ()


def parse_output(text: str, cwd: str) -> OutputSpec:
    """Parse one `--output`; a relative `dest` is seen from `cwd`. Raises `UsageError`."""
    fields = _fields(text)
    if len(fields) == 1 and "=" not in fields[0]:
        return _bare(fields[0], text, cwd)
    attributes: dict[str, str] = {}
    for field in fields:
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals:
            raise _wrong(text, f"{field!r} is not key=value")
        if key in attributes:
            raise _wrong(text, f"{key!r} is there twice")
        attributes[key] = value
    kind = _kind(text, attributes)
    _check_known(text, kind, tuple(attributes))
    match kind:
        case OutputKind.LOCAL:
            return OutputSpec(kind, _directory(text, attributes.get("dest", ""), cwd))
        case OutputKind.OCI:
            return _oci(text, attributes, cwd)
        case OutputKind.REGISTRY | OutputKind.IMAGE:
            return _named(text, kind, attributes)
        case _:
            assert_never(kind)


def _fields(text: str) -> list[str]:
    try:
        records = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise _wrong(text, f"not one CSV record: {error}") from error
    if len(records) != 1 or not any(records[0]):
        raise _wrong(text, "nothing is in it")
    return records[0]


def _bare(word: str, text: str, cwd: str) -> OutputSpec:
    if word == STDOUT:
        # buildx takes this for type=tar, the file system without the image around it.
        raise _wrong(text, "a bare - means type=tar, which is not in this release",
                     "write the image to stdout with type=oci,dest=-")  # fmt: skip
    return OutputSpec(OutputKind.LOCAL, _directory(text, word, cwd))


def _kind(text: str, attributes: dict[str, str]) -> OutputKind:
    word = attributes.get("type", "").strip().lower()
    if not word:
        raise _wrong(text, "it has no type", "begin it with type=oci, type=local or type=registry")
    if word in _LATER_TYPES:
        raise _wrong(text, f"type={word} is not in this release",
                     "use type=oci or type=local")  # fmt: skip
    if word not in _ATTRIBUTES:
        hint = near(word, (*_ATTRIBUTES, *_LATER_TYPES)) or f"use one of: {', '.join(_ATTRIBUTES)}"
        raise _wrong(text, f"type={word} is not known", hint)
    return OutputKind(word)


def _check_known(text: str, kind: OutputKind, keys: tuple[str, ...]) -> None:
    known = _ATTRIBUTES[kind]
    for key in keys:
        if key in known:
            continue
        if key in _INSECURE:
            raise _wrong(text, f"{key}= is a setting of the host here, not of an output",
                         "name the host under insecure in [registry] of the settings")  # fmt: skip
        if key in _LATER_ATTRIBUTES or key.startswith("annotation"):
            raise _wrong(text, f"{key}= is not in this release for type={kind}", "leave it out")
        hint = near(key, known) or f"type={kind} knows {', '.join(known)}"
        raise _wrong(text, f"type={kind} does not know {key!r}", hint)


def _oci(text: str, attributes: dict[str, str], cwd: str) -> OutputSpec:
    is_tar = _boolean(text, attributes, "tar", "true")
    names = _names(attributes)
    dest = attributes.get("dest", "")
    if not is_tar:
        return OutputSpec(OutputKind.OCI, _directory(text, dest, cwd), False, names)
    if dest in ("", STDOUT):
        return OutputSpec(OutputKind.OCI, STDOUT, True, names)
    if dest.endswith("/"):
        raise _wrong(text, f"{dest!r} is a directory, not a file", "add tar=false, or name a file")
    return OutputSpec(OutputKind.OCI, os.path.join(cwd, dest), True, names)


def _named(text: str, kind: OutputKind, attributes: dict[str, str]) -> OutputSpec:
    names = _names(attributes)
    for name in names:
        if parse_reference(name).digest is not None:
            raise _wrong(text, f"a tag has no digest: {name!r}", "leave out @sha256:...")
    if kind is OutputKind.IMAGE and _boolean(text, attributes, "push", "false"):
        kind = OutputKind.REGISTRY
    return OutputSpec(kind, "", names=names)


def _names(attributes: dict[str, str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in attributes.get("name", "").split(",") if name.strip())
    for name in names:
        # A wrong name is told now, not after the build.
        parse_reference(name)
    return names


def _boolean(text: str, attributes: dict[str, str], key: str, default: str) -> bool:
    word = attributes.get(key, default).strip().lower()
    if word not in _BOOLEANS:
        raise _wrong(text, f"{key}={word} is neither true nor false")
    return _BOOLEANS[word]


def _directory(text: str, dest: str, cwd: str) -> str:
    if dest in ("", STDOUT):
        raise _wrong(text, "it needs a directory", "add dest=DIRECTORY")
    return os.path.join(cwd, dest)


def _wrong(text: str, why: str, hint: str = "write it as type=oci,dest=FILE") -> UsageError:
    return UsageError(f"not an output: {text!r}", why=why, hint=hint)
