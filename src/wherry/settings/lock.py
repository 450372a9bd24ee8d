# SPDX-License-Identifier: Apache-2.0
"""`wherry.lock`: what a build takes from elsewhere, by digest or exact version.

Written by wherry in one fixed form, so that equal contents are equal bytes and a change is a small
difference; read as strictly as `wherry.toml`. Builds without the file pay for one system call.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Any

from wherry.errors import UsageError
from wherry.oci.digest import Digest, parse_digest
from wherry.oci.image import Pairs
from wherry.oci.platform import Platform
from wherry.oci.reference import Reference, parse_reference
from wherry.settings.declaration import FilePlace, Kind, declared, key_of, setting
from wherry.settings.files import LOCK_NAME, read_text
from wherry.settings.kinds import parse_entries, parse_text
from wherry.settings.lines import KeyPath, name_of
from wherry.settings.toml_text import toml_key, toml_value

if TYPE_CHECKING:
    from wherry.settings.document import Document

VERSION = 1

__all__ = ["LOCK_NAME", "LockFile", "LockedBase", "load_lock", "parse_lock", "render_lock"]

_HEAD = "# Written by `wherry lock`; commit it, and change it with that command only."
_CONFLICT = re.compile(r"^(?:<{7}|={7}|>{7})(?:\s|$)", re.MULTILINE)
_GO = re.compile(r"1\.\d[!-~]*", re.ASCII)
_MEDIA_TYPE = re.compile(r"[a-z]+/[A-Za-z0-9][A-Za-z0-9.+_-]*")
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9.]+)?")


def _parse_go(value: object) -> str:
    text = parse_text(value)
    if _GO.fullmatch(text) is None:
        raise UsageError(f"{text!r} is no Go version", hint='write it as "1.26.8"')
    return text


def _parse_data(value: object) -> Pairs:
    return tuple(sorted(parse_entries(value, lambda _, item: parse_text(item))))


def _parse_full_name(value: object) -> str:
    text = parse_text(value)
    full = parse_reference(text).full
    if text != full:
        raise UsageError(f"{text!r} leaves something to guess", hint=f'write "{full}"')
    return text


def _parse_digest(value: object) -> Digest:
    return parse_digest(parse_text(value))


def _parse_media_type(value: object) -> str:
    text = parse_text(value)
    if _MEDIA_TYPE.fullmatch(text) is None:
        raise UsageError(f"{text!r} is no media type")
    return text


def _parse_size(value: object) -> int:
    if type(value) is not int or value <= 0:
        raise UsageError(f"wants a number of bytes, not {value!r}")
    return value


def _platform_digest(name: str, value: object) -> Digest:
    if _PLATFORM.fullmatch(name) is None:
        raise UsageError(f"{name!r} is no platform", hint='write it as "linux/amd64"')
    return _parse_digest(value)


def _parse_platforms(value: object) -> tuple[tuple[str, Digest], ...]:
    return tuple(sorted(parse_entries(value, _platform_digest)))


GO = Kind("string", _parse_go, '"1.26.8"')
DATA = Kind("table of strings", _parse_data, '{ certifi = "2026.1.4" }')
FULL_NAME = Kind("string", _parse_full_name, '"docker.io/library/debian:12-slim"')
DIGEST = Kind("digest", _parse_digest, "")
MEDIA_TYPE = Kind("string", _parse_media_type, "")
SIZE = Kind("number of bytes", _parse_size, "")
PLATFORMS = Kind("table of digests", _parse_platforms, "")


@dataclass(frozen=True, slots=True)
class LockedBase:
    """One base: what its reference stood for when it was locked.

    `reference` is the full name; `digest`, `media_type` and `size` are those of the index, or of
    the manifest where there is no index. `platforms` holds the manifest for each, sorted.
    """

    reference: str = setting(
        FULL_NAME, "The whole name, with registry and tag: nothing left to guess", MISSING
    )
    digest: Digest = setting(  # noqa: RUF009 - declares a field, as for the others
        DIGEST, "What the name stood for: an index, or a manifest", MISSING
    )
    media_type: str = setting(MEDIA_TYPE, "The media type of that", MISSING)
    size: int = setting(SIZE, "Its size", MISSING)
    platforms: tuple[tuple[str, Digest], ...] = setting(
        PLATFORMS, "For each platform the digest of its manifest", MISSING
    )

    def digest_for(self, platform: Platform) -> Digest | None:
        """The manifest for `platform`, None where the base has none."""
        name = str(platform)
        return next((digest for known, digest in self.platforms if known == name), None)


@dataclass(frozen=True, slots=True)
class LockFile:
    """A whole `wherry.lock`; `data` and `bases` are sorted by name where it was read."""

    go: str = setting(GO, "The exact Go version", MISSING)
    data: tuple[tuple[str, str], ...] = setting(
        DATA, "The versions of the data that composed bases hold", MISSING
    )
    bases: tuple[LockedBase, ...] = ()

    def base(self, reference: Reference) -> LockedBase | None:
        """What is locked for `reference`, None where nothing is."""
        name = reference.full
        return next((base for base in self.bases if base.reference == name), None)


def load_lock(directory: str) -> LockFile | None:
    """The `wherry.lock` in `directory`, None where there is none; raises as `parse_lock`."""
    path = os.path.join(directory, LOCK_NAME)
    text = read_text(path, LOCK_NAME)
    return None if text is None else parse_lock(text, path)


def parse_lock(text: str, path: str) -> LockFile:
    """Read the text of the file at `path`.

    Raises `UsageError`, or `SeveralErrors` for more than one, each with its line.
    """
    _refuse_conflict(text)
    from wherry.settings.document import Document  # noqa: PLC0415 - tomllib, only with a file

    document = Document(text, LOCK_NAME, FilePlace(os.path.dirname(path)))
    _check_version(document)
    values = _whole(document, (), document.tables, LockFile, ("version", "base"))
    bases = list(_bases(document))
    document.finish()
    made = (LockedBase(**base) for base in bases)
    return LockFile(**values, bases=tuple(sorted(made, key=lambda base: base.reference)))


def render_lock(lock: LockFile) -> str:
    """The text of the file, sorted, with one value on each line.

    Of entries for one platform the first is written, as it is the first that a build takes;
    entries that name no platform, which no build can ask for, are left out.
    """
    lines = [_HEAD, f"version = {VERSION}", f"go = {toml_value(lock.go)}", "", "[data]"]
    lines += [f"{toml_key(name)} = {toml_value(version)}" for name, version in sorted(lock.data)]
    for base in sorted(lock.bases, key=lambda base: base.reference):
        lines += ["", "[[base]]"]
        lines += [
            f"reference = {toml_value(base.reference)}",
            f"digest = {toml_value(str(base.digest))}",
            f"media-type = {toml_value(base.media_type)}",
            f"size = {base.size}",
            "",
            "[base.platforms]",
        ]
        lines += [
            f"{toml_value(name)} = {toml_value(str(digest))}" for name, digest in _asked_for(base)
        ]
    return "\n".join(lines) + "\n"


def _asked_for(base: LockedBase) -> list[tuple[str, Digest]]:
    # An index lists windows/amd64 once for each version of Windows.
    first = dict(reversed(base.platforms))
    return sorted((name, digest) for name, digest in first.items() if _PLATFORM.fullmatch(name))


def _refuse_conflict(text: str) -> None:
    if mark := _CONFLICT.search(text):
        line = text.count("\n", 0, mark.start()) + 1
        raise UsageError(
            "holds a merge conflict",
            why=f"the line begins with {mark[0].strip()}",
            hint=f"take either side of it, or remove {LOCK_NAME}; then run `wherry lock`",
            where=f"{LOCK_NAME}:{line}",
        )


def _check_version(document: Document) -> None:
    """Raise at once: whatever else seems wrong with another format may well be right."""
    version = document.tables.get("version")
    if type(version) is int and version == VERSION:
        return
    if type(version) is int and version > VERSION:
        error = UsageError(
            f"is of version {version}",
            why=f"this wherry knows versions up to {VERSION}",
            hint="update wherry",
        )
    else:
        hint = "remove the file and write it anew with `wherry lock`"
        error = UsageError(f"names no version that wherry knows: {version!r}", hint=hint)
    document.wrong(("version",), error)
    document.finish()


def _bases(document: Document) -> Iterator[dict[str, Any]]:
    tables = document.tables.get("base", [])
    if not isinstance(tables, list):
        document.wrong(("base",), UsageError("base is no list of tables", hint="write [[base]]"))
        return
    seen: set[str] = set()
    for index, table in enumerate(tables):
        path = ("base", index)
        values = _whole(document, path, table, LockedBase)
        _check_base(document, path, values, seen)
        yield values


def _check_base(
    document: Document, path: tuple[str, int], values: dict[str, Any], seen: set[str]
) -> None:
    reference = values.get("reference", "")
    where = (*path, "reference")
    if reference in seen:
        hint = f"remove one, or run `wherry lock --update {reference}`"
        document.wrong(where, UsageError(f"{reference} is locked twice", hint=hint))
    if reference:
        seen.add(reference)
        pinned = parse_reference(reference).digest
        if pinned and "digest" in values and pinned != values["digest"]:
            hint = f"run `wherry lock --update {reference}`"
            error = UsageError(f"{reference} is locked to another digest", hint=hint)
            document.wrong((*path, "digest"), error)


def _whole(
    document: Document,
    path: KeyPath,
    table: object,
    owner: type[Any],
    besides: tuple[str, ...] = (),
) -> dict[str, Any]:
    """All values of `owner`, each of which the file has to say."""
    values = document.values(path, table, owner, besides)
    if isinstance(table, dict):
        for key in (key_of(item.name) for item in declared(owner)):
            if key not in table:
                what = f"{name_of((*path, key))} is missing"
                document.wrong(path, UsageError(what, hint="write the file anew: `wherry lock`"))
    return values
