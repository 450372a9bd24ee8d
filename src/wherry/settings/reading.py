# SPDX-License-Identifier: Apache-2.0
"""The text of `wherry.toml` -> settings; strict, all errors at once.

Loaded only where the file exists: tomllib is not for builds that have none.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from typing import Any

from wherry.errors import SeveralErrors, UsageError, WherryError, near
from wherry.settings.kinds import Kind
from wherry.settings.lines import KeyPath, line_of, locate_keys
from wherry.settings.model import FILE_NAME, BuildSettings, ImageSettings, Settings, key_of

# Words that other releases or other tools taught people: an honest answer instead of "unknown".
_LATER = {
    ("build", "platforms"): "images for several platforms",
    ("build", "libc-base"): "a base for dynamically linked binaries",
    ("image", "files"): "files beside the binary",
    ("store",): "a size for the store",
}
_IMAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SYNTAX_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")


def parse_settings(text: str, path: str) -> Settings:
    """The settings in `text`; raises `UsageError` or `SeveralErrors`, each with its line."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(str(error), text) from error
    reader = _Reader(locate_keys(text))
    settings = Settings(reader.build(tables), reader.images(tables), path)
    reader.refuse_unknown((), tables, ("build", "image"))
    reader.finish()
    return settings


def _syntax_error(message: str, text: str) -> UsageError:
    match = _SYNTAX_PLACE.search(message)
    if match:
        line, column = match[1], match[2]
    else:
        line, column = str(max(len(text.splitlines()), 1)), ""
    where = ":".join(part for part in (FILE_NAME, line, column) if part)
    why = re.sub(r"\s*\(at [^)]*\)$", "", message)
    return UsageError("not valid TOML", why=why, where=where,
                      hint="mend the line; strings need quotes")  # fmt: skip


class _Reader:
    """Reads tables into values and collects what is wrong."""

    def __init__(self, keys: dict[KeyPath, int]) -> None:
        self._keys = keys
        self._errors: list[tuple[int, WherryError]] = []

    def build(self, tables: dict[str, Any]) -> BuildSettings:
        return BuildSettings(**self._values(("build",), tables.get("build", {}), BuildSettings))

    def images(self, tables: dict[str, Any]) -> tuple[ImageSettings, ...]:
        named = tables.get("image", {})
        if not isinstance(named, dict):
            self._wrong(("image",), UsageError("image is no table", hint="write [image.NAME]"))
            return ()
        return tuple(self._image(name, table) for name, table in named.items())

    def _image(self, name: str, table: object) -> ImageSettings:
        path = ("image", name)
        if not isinstance(table, dict):
            known = tuple(_declared(ImageSettings))
            hint = near(name, known) or "images have names"
            if name in known:
                hint = f"put it below a header such as [image.{_first_word(table)}]"
            self._wrong(path, UsageError(f"image.{name} is no table", hint=hint))
            return ImageSettings(name=name)
        if _IMAGE_NAME.fullmatch(name) is None:
            hint = "letters, digits, '.', '_' and '-'"
            self._wrong(path, UsageError(f"{name!r} is no name of an image", hint=hint))
        if "packages" not in table:
            hint = 'add packages = ["./cmd/api"], or ["."] for the module\'s root'
            self._wrong(path, UsageError(f"image.{name} names no package", hint=hint))
        return ImageSettings(name=name, **self._values(path, table, ImageSettings))

    def refuse_unknown(self, path: KeyPath, table: dict[str, Any], known: tuple[str, ...]) -> None:
        """Note an error for each key of `table` that is not in `known`."""
        for key in table:
            if key in known:
                continue
            full, generic = (*path, key), (*path[:1], key)
            name = ".".join(full)
            if later := _LATER.get(generic):
                why, hint = f"{later}: not in this release", "leave the key out"
                self._wrong(full, UsageError(f"{name} is not known yet", why=why, hint=hint))
            else:
                hint = near(key, known) or f"known here: {', '.join(sorted(known))}"
                self._wrong(full, UsageError(f"unknown key {name}", hint=hint))

    def finish(self) -> None:
        """Raise what was noted, in the order of the file."""
        errors = tuple(error for _, error in sorted(self._errors, key=lambda item: item[0]))
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise SeveralErrors(errors)

    def _values(
        self, path: KeyPath, table: object, owner: type[BuildSettings] | type[ImageSettings]
    ) -> dict[str, Any]:
        if not isinstance(table, dict):
            name = ".".join(path)
            self._wrong(path, UsageError(f"{name} is no table", hint=f"write [{name}]"))
            return {}
        declared = _declared(owner)
        self.refuse_unknown(path, table, tuple(declared))
        values: dict[str, Any] = {}
        for key, (name, kind) in declared.items():
            if key in table:
                try:
                    values[name] = kind.parse(table[key])
                except UsageError as error:
                    self._wrong((*path, key), _in_key((*path, key), error))
        return values

    def _wrong(self, path: KeyPath, error: UsageError) -> None:
        line = line_of(self._keys, path)
        error.where = f"{FILE_NAME}:{line}"
        self._errors.append((line, error))


def _declared(owner: type[BuildSettings] | type[ImageSettings]) -> dict[str, tuple[str, Kind]]:
    return {
        key_of(item.name): (item.name, item.metadata["kind"])
        for item in fields(owner)
        if "kind" in item.metadata
    }


def _in_key(path: KeyPath, error: UsageError) -> UsageError:
    return UsageError(f"{'.'.join(path)}: {error.what}", why=error.why, hint=error.hint)


def _first_word(value: object) -> str:
    words = re.findall(r"[a-z0-9]+", str(value).lower())
    return words[-1] if words else "api"
