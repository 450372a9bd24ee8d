# SPDX-License-Identifier: Apache-2.0
"""Settings -> the text of a `wherry.toml`, keys in the order of their declaration.

Written is what settings say and the reader's defaults do not: reading the text again gives the
same settings. Comments are not kept, as settings have none. Of `[registry]` only texts are written,
and `[store]` and `[cache]` are not, since no other tool's settings hold more.
"""

from __future__ import annotations

from dataclasses import MISSING, Field
from typing import Any

from wherry.settings.declaration import declared, key_of
from wherry.settings.file_entries import FileEntry
from wherry.settings.model import BuildSettings, ImageSettings, Settings
from wherry.settings.registry import RegistrySettings
from wherry.settings.toml_text import toml_key, toml_value

# Longer lists get a line for each item.
_WIDTH = 80


def write_settings(settings: Settings) -> str:
    """The text; empty where the settings say nothing."""
    tables = [
        _table("[build]", settings.build, BuildSettings),
        *(
            _table(f"[image.{toml_key(image.name)}]", image, ImageSettings, always=("packages",))
            for image in settings.images
        ),
        _table("[registry]", settings.registry, RegistrySettings),
    ]
    return "\n".join(filter(None, tables))


def _table(header: str, value: object, owner: type[Any], always: tuple[str, ...] = ()) -> str:
    items = declared(owner)
    # What an image is made of goes first, as people write it.
    ordered = sorted(items, key=lambda item: item.name not in always)
    lines = [
        f"{key_of(item.name)} = {_value(said, len(item.name))}\n"
        for item in ordered
        if (said := getattr(value, item.name)) != _default(item)
    ]
    return "".join([f"{header}\n", *lines]) if lines else ""


def _default(item: Field[Any]) -> object:
    return None if item.default is MISSING else item.default


def _value(value: object, indent: int = 0) -> str:
    match value:
        case bool() | int() | str():
            return toml_value(value)
        case FileEntry():
            return _file(value)
        case tuple() if value and all(_is_pair(item) for item in value):
            entries = ", ".join(f"{toml_key(key)} = {_value(item)}" for key, item in value)
            return f"{{ {entries} }}"
        case tuple():
            return _list([_value(item) for item in value], indent)
    raise TypeError(f"no setting is a {type(value).__name__}")


def _is_pair(item: object) -> bool:
    return type(item) is tuple and len(item) == 2


def _list(items: list[str], indent: int) -> str:
    line = f"[{', '.join(items)}]"
    if indent + len(line) <= _WIDTH:
        return line
    return "".join(["[\n", *(f"  {item},\n" for item in items), "]"])


def _file(entry: FileEntry) -> str:
    parts = [f"from = {toml_value(entry.source)}", f"to = {toml_value(entry.target)}"]
    if entry.owner:
        parts.append(f"owner = {toml_value(entry.owner)}")
    if entry.mode is not None:
        parts.append(f"mode = 0o{entry.mode:o}")
    return f"{{ {', '.join(parts)} }}"
