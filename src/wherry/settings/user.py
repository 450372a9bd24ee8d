# SPDX-License-Identifier: Apache-2.0
"""The user's own file, `config.toml`: what holds for every project on this machine.

It lies where the XDG base directory specification 0.8 puts it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from wherry.settings.cache import UserCacheSettings
from wherry.settings.files import read_text
from wherry.settings.model import USER_FILE_NAME
from wherry.settings.registry import RegistrySettings
from wherry.settings.store import StoreSettings

if TYPE_CHECKING:
    from wherry.settings.lines import KeyPath

_NO_LINES: Mapping[KeyPath, int] = MappingProxyType({})


def user_settings_path(env: Mapping[str, str]) -> str:
    """Where the file is or would be; empty where `env` names no directory for it.

    `$XDG_CONFIG_HOME/wherry/config.toml`, else below `$HOME/.config`. As the specification says, a
    relative XDG_CONFIG_HOME is ignored.
    """
    directory = env.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(directory):
        home = _home(env)
        if not home:
            return ""
        directory = os.path.join(home, ".config")
    return os.path.join(directory, "wherry", USER_FILE_NAME)


class UserSettings(NamedTuple):
    """A whole `config.toml`; `lines` are those of its headers and keys."""

    registry: RegistrySettings
    store: StoreSettings
    lines: Mapping[KeyPath, int] = _NO_LINES
    cache: UserCacheSettings = UserCacheSettings()


def load_user_settings(env: Mapping[str, str]) -> RegistrySettings:
    """The user's settings about registries, empty ones where there is no file.

    Raises `UsageError`, or `SeveralErrors` for more than one, each with the file's path and line.
    """
    return load_user_file(env).registry


def load_user_file(env: Mapping[str, str]) -> UserSettings:
    """All that the user's file says; raises as `load_user_settings`."""
    path = user_settings_path(env)
    text = read_text(path, path) if path else None
    if text is None:
        return UserSettings(RegistrySettings(), StoreSettings())
    # tomllib and the parsers are for users who have the file.
    from wherry.settings.reading import parse_user_settings  # noqa: PLC0415 - see above

    return parse_user_settings(text, path, _home(env))


def _home(env: Mapping[str, str]) -> str:
    home = env.get("HOME", "")
    return home if os.path.isabs(home) else ""
