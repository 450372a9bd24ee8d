# SPDX-License-Identifier: Apache-2.0
"""Every declared key of the files of settings, and how to read a text in which it has a value."""

from collections.abc import Iterator
from dataclasses import Field
from typing import Any, NamedTuple

import pytest

from wherry.errors import SeveralErrors, WherryError
from wherry.settings.cache import CacheSettings, UserCacheSettings
from wherry.settings.check import CheckSettings
from wherry.settings.declaration import declared, key_of
from wherry.settings.model import BuildSettings, ImageSettings
from wherry.settings.reading import parse_settings, parse_user_settings
from wherry.settings.registry import RegistrySettings
from wherry.settings.store import StoreSettings


class Key(NamedTuple):
    """A declared key: `head` are the lines before it, up to its table's header."""

    table: str
    item: Field[Any]
    head: str
    users: bool = False

    @property
    def name(self) -> str:
        return key_of(self.item.name)

    @property
    def full(self) -> str:
        return f"{self.table}.{self.name}"

    def read(self, value: str) -> None:
        text = f"{self.head}{self.name} = {value}\n"
        if self.users:
            parse_user_settings(text, "config.toml", "/home/me")
        else:
            parse_settings(text, "wherry.toml")

    def errors(self, value: str) -> list[WherryError]:
        with pytest.raises(WherryError) as caught:
            self.read(value)
        error = caught.value
        return list(error.errors) if isinstance(error, SeveralErrors) else [error]


def keys() -> Iterator[Key]:
    for item in declared(BuildSettings):
        yield Key("build", item, "[build]\n")
    for item in declared(ImageSettings):
        # The error about a missing package would come besides.
        needed = "" if item.name == "packages" else 'packages = ["."]\n'
        yield Key("image.api", item, f"[image.api]\n{needed}")
    others = (
        (RegistrySettings, "registry"), (StoreSettings, "store"), (CacheSettings, "cache"),
        (CheckSettings, "check"),
    )  # fmt: skip
    for owner, table in others:
        for item in declared(owner):
            yield Key(table, item, f"[{table}]\n", users=item.metadata["users"])
    for item in declared(UserCacheSettings):
        yield Key("cache", item, "[cache]\n", users=True)


KEYS = tuple(keys())
IDS = [key.full for key in KEYS]
