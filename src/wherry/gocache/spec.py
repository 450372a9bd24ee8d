# SPDX-License-Identifier: Apache-2.0
"""`--cache-to` and `--cache-from`: a place, and for what it is used.

A bare word is a directory where it begins with `/`, `./` or `../`, and a reference otherwise; `.`
and `..` alone are neither. All else is one CSV record (RFC 4180) of `key=value` fields, as
`docker buildx build` writes them, of `type=wherry`. BuildKit's own types are known and refused by
name: they hold layers of its steps, which wherry's engine neither writes nor reads.
"""

from __future__ import annotations

import csv
import os
from typing import Final, NamedTuple

from wherry.errors import UsageError, near
from wherry.oci.reference import parse_reference

_DIRECTORY: Final = ("/", "./", "../")
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_MODULES: Final = ("auto", "off")
_MODES: Final = ("max", "min")
_BUILDKIT_TYPES: Final = ("registry", "local", "inline", "gha", "s3", "azblob")
# Of BuildKit's registry and local types: known, and of no use here.
_BUILDKIT_KEYS: Final = (
    "compression", "compression-level", "force-compression", "image-manifest", "oci-mediatypes",
    "registry.insecure", "scope", "tag", "digest", "name", "url", "token", "timeout",
)  # fmt: skip
_IMPORT_KEYS: Final = ("type", "ref", "src", "ignore-error")
_EXPORT_KEYS: Final = (
    "type", "ref", "dest", "ignore-error", "private", "paths", "modules", "layers", "mode",
    "max-size",
)  # fmt: skip


class CacheSpec(NamedTuple):
    """A place and its use.

    `place` is a reference or a directory as the user wrote it, `path` the directory's absolute
    path. Only exports know the rest: `private` takes private modules in, `max_size` is in bytes,
    `modules` says whether modules travel (`auto`, `off`), `layers` whether the image's layers do
    where nobody pushed them, `paths` lets entries out that name directories of this machine. Of a
    Dockerfile `mode` says which steps' layers travel: `max` all, `min` those of the image.
    """

    place: str
    is_directory: bool
    ignore_error: bool = True
    private: bool = False
    max_size: int = 2 << 30
    modules: str = "auto"
    layers: bool = True
    path: str = ""
    paths: bool = False
    mode: str = "max"

    @property
    def address(self) -> str:
        """Where it is: one for each directory, whatever word means it."""
        return self.path or self.place


def parse_cache_spec(text: str, flag: str, cwd: str) -> CacheSpec:
    """Parse one `--cache-to` or `--cache-from`; raises `UsageError`.

    `flag` names where it was written, for messages: where that ends with `to` it is an export.
    A relative directory is seen from `cwd`.
    """
    said = _Said(text, flag)
    fields = said.fields()
    if len(fields) == 1 and ("=" not in fields[0] or fields[0].startswith(_DIRECTORY)):
        place = fields[0].strip()
        if place.startswith(_DIRECTORY):
            return CacheSpec(place, is_directory=True, path=_absolute(place, cwd))
        return CacheSpec(said.reference(place), is_directory=False)
    said.take(fields)
    said.check_keys()
    ref, directory = said.text("ref"), said.text(said.directory_key)
    if bool(ref) == bool(directory):
        why = "it names two places" if ref else "it names no place"
        raise said.wrong(why, f"write one of ref=REFERENCE and {said.directory_key}=DIRECTORY")
    if directory.startswith("~"):
        raise said.wrong("no shell has replaced ~ in it", "write the directory out, or $HOME/...")
    return CacheSpec(
        directory or said.reference(ref),
        is_directory=bool(directory),
        ignore_error=said.boolean("ignore-error", default=True),
        private=said.boolean("private", default=False),
        paths=said.boolean("paths", default=False),
        max_size=said.size("max-size", CacheSpec._field_defaults["max_size"]),
        modules=said.word("modules", _MODULES, "auto"),
        layers=said.boolean("layers", default=True),
        mode=said.word("mode", _MODES, "max"),
        path=_absolute(directory, cwd) if directory else "",
    )


def _absolute(path: str, cwd: str) -> str:
    return os.path.normpath(os.path.join(cwd, path))


class _Said:
    """One value of a flag, being taken apart."""

    def __init__(self, text: str, flag: str) -> None:
        self._source = text
        self._flag = flag
        self._is_export = flag.endswith("to")
        self._values: dict[str, str] = {}

    @property
    def directory_key(self) -> str:
        return "dest" if self._is_export else "src"

    def wrong(self, why: str, hint: str = "") -> UsageError:
        """The error for this value."""
        hint = hint or "write a reference, ./DIRECTORY, or type=wherry,ref=REFERENCE"
        return UsageError(f"{self._flag}: not a cache: {_shown(self._source)!r}", why=why,
                          hint=hint)  # fmt: skip

    # --- taking apart ---------------------------------------------------------------------------

    def fields(self) -> list[str]:
        if "\0" in self._source:
            raise self.wrong("it holds a NUL character")
        try:
            records = list(csv.reader([self._source], strict=True))
        except csv.Error as error:
            raise self.wrong(f"not one CSV record: {error}") from error
        if len(records) != 1 or not any(field.strip() for field in records[0]):
            raise self.wrong("nothing is in it")
        return records[0]

    def take(self, fields: list[str]) -> None:
        for field in fields:
            key, equals, value = field.partition("=")
            key = key.strip().lower()
            if not equals:
                raise self.wrong(f"{_shown(field)!r} is not key=value",
                                 'a place with further fields is written as type=wherry,ref=... '
                                 'or dest=...; "key=a,b" in quotes holds a comma')  # fmt: skip
            if key in self._values:
                raise self.wrong(f"{key!r} is there twice")
            self._values[key] = value.strip()
        self._check_type()

    def _check_type(self) -> None:
        word = self.text("type").lower()
        if word in ("", "wherry"):
            if "type" in self._values and not word:
                raise self.wrong("its type is empty", "write type=wherry")
            return
        if word in _BUILDKIT_TYPES:
            hint = "write the reference alone, or type=wherry,ref=REFERENCE"
            if word == "gha":
                hint += "; on GitHub, keep a directory with actions/cache"
            if word == "local":
                hint = f"write type=wherry,{self.directory_key}=DIRECTORY"
            raise self.wrong(f"type={word} is BuildKit's own cache, of layers of its steps", hint)
        hint = near(word, ("wherry", *_BUILDKIT_TYPES)) or "write type=wherry"
        raise self.wrong(f"type={word[:50]} is not known", hint)

    def check_keys(self) -> None:
        known = _EXPORT_KEYS if self._is_export else _IMPORT_KEYS
        for key in self._values:
            if key in known:
                continue
            if key in ("src", "dest"):
                verb = "written to" if self._is_export else "read from"
                raise self.wrong(f"{key}= is not for a cache that is {verb}",
                                 f"write {self.directory_key}=DIRECTORY")  # fmt: skip
            if key in _EXPORT_KEYS:
                raise self.wrong(f"{key}= is for --cache-to only", "leave it out here")
            if key in _BUILDKIT_KEYS:
                raise self.wrong(f"{key}= is BuildKit's, and means nothing here", "leave it out")
            hint = near(key, known) or f"there are {', '.join(known)}"
            raise self.wrong(f"{key[:50]!r} is not known", hint)

    # --- values ---------------------------------------------------------------------------------

    def text(self, key: str) -> str:
        return self._values.get(key, "")

    def reference(self, text: str) -> str:
        if text in (".", ".."):
            raise self.wrong("a directory begins with /, ./ or ../",
                             "a cache needs a directory of its own: write ./NAME")  # fmt: skip
        if text.startswith("~"):
            raise self.wrong("no shell has replaced ~ in it",
                             "write the directory out, or $HOME/...")  # fmt: skip
        if text.startswith(_DIRECTORY):
            raise self.wrong("ref= is for references", f"write {self.directory_key}={text}")
        try:
            parsed = parse_reference(text)
        except UsageError as error:
            hint = f"{error.hint or 'write NAME:TAG'}; a directory begins with /, ./ or ../"
            raise self.wrong(error.why or error.what, hint) from None
        if parsed.digest is not None and self._is_export:
            raise self.wrong("a digest names one content for ever", "name a tag")
        return text

    def boolean(self, key: str, *, default: bool) -> bool:
        word = self.text(key).lower()
        if key not in self._values:
            return default
        if word not in _BOOLEANS:
            raise self.wrong(f"{key}={word[:50]} is neither true nor false", f"write {key}=true")
        return _BOOLEANS[word]

    def word(self, key: str, words: tuple[str, ...], default: str) -> str:
        word = self.text(key).lower()
        if key not in self._values:
            return default
        if word not in words:
            hint = near(word, words) or f"use one of: {', '.join(words)}"
            raise self.wrong(f"{key}={word[:50]} is not known", hint)
        return word

    def size(self, key: str, default: int) -> int:
        if key not in self._values:
            return default
        from wherry.settings.store import parse_size  # noqa: PLC0415 - spares most starts its price

        try:
            return parse_size(self.text(key))
        except UsageError as error:
            why = error.what.replace(" for a store", "")
            raise self.wrong(f"{key}=: {why}", error.hint) from None


def _shown(text: str) -> str:
    """The user's words without what may be a password: `user:password@host`."""
    before, at, after = text.rpartition("@")
    if at and not after.startswith(("sha256:", "sha512:")):
        return f"...@{after}" if before else text
    return text
