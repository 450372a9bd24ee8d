# SPDX-License-Identifier: Apache-2.0
"""The text of `wherry.toml` -> settings; strict, all errors at once.

Loaded only where the file exists: tomllib is not for builds that have none.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TypeVar

from wherry.errors import UsageError, near
from wherry.settings.cache import CacheSettings, UserCacheSettings
from wherry.settings.check import CheckSettings
from wherry.settings.contradictions import contradictions
from wherry.settings.declaration import FilePlace, declared, key_of
from wherry.settings.document import Document
from wherry.settings.model import FILE_NAME, BuildSettings, ImageSettings, Settings
from wherry.settings.registry import RegistrySettings
from wherry.settings.store import StoreSettings
from wherry.settings.user import UserSettings

_PROJECT_TABLES = ("build", "image", "registry", "store", "cache", "check")
_USER_TABLES = ("registry", "store", "cache")
IMAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Keys that people look for in the other table.
_ELSEWHERE = {
    "packages": "[image.NAME]",
    "tags": "[image.NAME]",
    "go": "[build]",
    "trust": "[cache] of the user's own config.toml",
}
_PROJECTS = dict.fromkeys(("from", "to", "mounts", "key"), f"[cache] of a project's {FILE_NAME}")

_T = TypeVar("_T")


def parse_settings(text: str, path: str) -> Settings:
    """The settings in `text`; raises `UsageError` or `SeveralErrors`, each with its line."""
    document = Document(text, FILE_NAME, FilePlace(os.path.dirname(path)), _ELSEWHERE)
    settings = Settings(
        build=_table(document, "build", BuildSettings),
        images=_images(document),
        path=path,
        registry=_table(document, "registry", RegistrySettings),
        store=_table(document, "store", StoreSettings),
        cache=_table(document, "cache", CacheSettings),
        check=_table(document, "check", CheckSettings) if "check" in document.tables else None,
        lines=document.lines,
    )
    document.refuse_unknown((), document.tables, _PROJECT_TABLES)
    for place, error in contradictions(settings):
        document.wrong(place, error)
    document.finish()
    return settings


def parse_user_settings(text: str, path: str, home: str) -> UserSettings:
    """What the user's own file at `path` says, with `~/` for `home`; raises as `parse_settings`."""
    document = Document(text, path, FilePlace(os.path.dirname(path), home), _PROJECTS)
    registry = _table(document, "registry", RegistrySettings)
    store = _table(document, "store", StoreSettings)
    cache = _table(document, "cache", UserCacheSettings)
    for table in document.tables.keys() & set(_PROJECT_TABLES) - set(_USER_TABLES):
        hint = f"it belongs into a project's {FILE_NAME}"
        document.wrong((table,), UsageError(f"{table} is no table of this file", hint=hint))
    unknown = {key: value for key, value in document.tables.items() if key not in _PROJECT_TABLES}
    document.refuse_unknown((), unknown, _USER_TABLES)
    document.finish()
    registry = replace(registry, insecure_by_user=registry.insecure, ca_by_user=registry.ca)
    return UserSettings(registry, store, document.lines, cache)


def _table(document: Document, name: str, owner: type[_T]) -> _T:
    return owner(**document.values((name,), document.tables.get(name, {}), owner))


def _images(document: Document) -> tuple[ImageSettings, ...]:
    named = document.tables.get("image", {})
    if not isinstance(named, dict):
        document.wrong(("image",), UsageError("image is no table", hint="write [image.NAME]"))
        return ()
    return tuple(_image(document, name, table) for name, table in named.items())


def _image(document: Document, name: str, table: object) -> ImageSettings:
    path = ("image", name)
    if not isinstance(table, dict):
        known = tuple(key_of(item.name) for item in declared(ImageSettings))
        hint = near(name, known) or "images have names"
        if name in known:
            hint = f"put it below a header such as [image.{_first_word(table)}]"
        document.wrong(path, UsageError(f"image.{name} is no table", hint=hint))
        return ImageSettings(name=name)
    if IMAGE_NAME.fullmatch(name) is None:
        hint = "letters, digits, '.', '_' and '-'"
        document.wrong(path, UsageError(f"{name!r} is no name of an image", hint=hint))
    if "packages" not in table:
        hint = 'add packages = ["./cmd/api"], or ["."] for the module\'s root'
        document.wrong(path, UsageError(f"image.{name} names no package", hint=hint))
    return ImageSettings(name=name, **document.values(path, table, ImageSettings))


def _first_word(value: object) -> str:
    words = re.findall(r"[a-z0-9]+", str(value).lower())
    return words[-1] if words else "api"
