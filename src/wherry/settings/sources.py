# SPDX-License-Identifier: Apache-2.0
"""Where each value of an image comes from: flag, file, environment or default, in that order.

`explain` is pure: what flags say and what the defaults are on this machine, its caller tells.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from wherry.settings.cache import CacheSettings
from wherry.settings.declaration import declared, key_of
from wherry.settings.lines import line_of, name_of
from wherry.settings.model import (
    FILE_NAME,
    TABLES,
    BuildSettings,
    FileEntry,
    ImageDefaults,
    ImageSettings,
    Settings,
)
from wherry.settings.toml_text import toml_key, toml_value

if TYPE_CHECKING:
    from wherry.settings.lines import KeyPath

DEFAULT = "default"
# The column where sources stand, unless a value is longer.
_COLUMN = 48
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Told(NamedTuple):
    """A value and who told it, where that is not the flag that the key's declaration names."""

    value: Any
    source: str


class Line(NamedTuple):
    """One value that holds.

    `table` is `build`, `image.NAME`, `store` or `cache` and `key` the key in it, both as TOML
    writes them; the key of an entry is `env.NAME`. `value` is None where nothing holds. `source`
    is `default`, `wherry.toml:LINE`, `.ko.yaml`, a flag, or `environment NAME`.
    """

    table: str
    key: str
    value: Any
    source: str


def explain(
    settings: Settings,
    image_name: str,
    flags: Mapping[str, Any],
    *,
    environment: Mapping[str, Told] = _NOTHING,
    defaults: Mapping[str, Any] = _NOTHING,
) -> tuple[Line, ...]:
    """What holds for the image `image_name`, which the settings need not name.

    All three mappings are by the key of the file (`libc-base`). `flags` beat the file; a value
    there is what the flag says, a mapping for `labels` and `annotations`, or a `Told`. The file
    beats `environment`, whose sources are names of variables, and that beats `defaults`, which
    beat the declarations' own.
    """
    named = {image.name: image for image in settings.images}
    image = named.get(image_name) or ImageSettings(name=image_name)
    below = {key: Told(value, DEFAULT) for key, value in defaults.items()}
    for key, told in environment.items():
        below[key] = Told(told.value, f"environment {told.source}")
    sides = _Sides(settings, image, flags, below)
    own = f"image.{toml_key(image_name)}"
    lines = [*sides.lines("build", "go")]
    for item in _in_order():
        lines += sides.lines(own, item.name)
    return tuple(lines)


def explain_cache(
    settings: Settings, flags: Mapping[str, Any], remarks: Mapping[str, str] = _NOTHING
) -> tuple[Line, ...]:
    """What holds in `[cache]`; `flags` are by the key of the file, and beat it.

    `remarks` say by key what there is to be said of the file's value.
    """
    lines = []
    for item in declared(CacheSettings):
        key = key_of(item.name)
        value, source = getattr(settings.cache, item.name), DEFAULT
        if key in flags:
            value, source = flags[key], item.metadata["flag"]
        elif value is not None:
            file = os.path.basename(settings.path or FILE_NAME)
            source = f"{file}:{line_of(settings.lines, ('cache', key))}"
            source += f", {remarks[key]}" if key in remarks else ""
        lines.append(Line("cache", key, value, source))
    return tuple(lines)


def render(lines: Iterable[Line]) -> str:
    """`lines` as TOML in the file's own words, the source as a comment at each line's end.

    A key without a value is a comment.
    """
    text, table = "", ""
    for line in lines:
        if line.table != table:
            text += f"{chr(10) if text else ''}[{line.table}]\n"
            table = line.table
        source = "".join(char if char.isprintable() else "?" for char in line.source)
        if line.value is None:
            text += f"{f'# {line.key}: not set':<{_COLUMN}} # {source}\n"
            continue
        for row in _rows(line.key, line.value):
            text += f"{row:<{_COLUMN}} # {source}\n"
    return text


def told_at(settings: Settings, image_name: str, key: str, entry: str | int) -> str:
    """Where the file says an entry of an image's `key`: `wherry.toml:7: image.api.tags`.

    `entry` is the name of a table's entry, or the number of a list's item, from 0.
    """
    file = os.path.basename(settings.path or FILE_NAME)
    for table in (("image", image_name), ("build",)):
        path: KeyPath = (*table, key, entry)
        # A list is told whole, a table entry by entry.
        if (path if isinstance(entry, str) else path[:-1]) in settings.lines:
            return f"{file}:{line_of(settings.lines, path)}: {name_of(path)}"
    # Of ko's file no lines are known.
    return f"{file}: {name_of((key, entry))}"


class _Said(NamedTuple):
    """What one side says; `path` is the key's place in the file, empty for any other side."""

    value: Any
    source: str
    path: KeyPath = ()


@dataclass(frozen=True, slots=True)
class _Sides:
    """All that may say something about one image."""

    settings: Settings
    image: ImageSettings
    flags: Mapping[str, Any]
    below: Mapping[str, Told]

    def lines(self, table: str, name: str) -> Iterator[Line]:
        """What holds for the field `name`; a line for each entry of a table."""
        key = key_of(name)
        said = [one for one in self._said(name) if one.value is not None]
        if name not in TABLES:
            last = said[-1] if said else _Said(None, DEFAULT)
            yield Line(table, key, last.value, self._source(last, ()))
            return
        entries: dict[str, Line] = {}
        for one in said:
            for entry, value in dict(one.value).items():
                full = f"{key}.{toml_key(entry)}"
                entries[entry] = Line(table, full, value, self._source(one, (entry,)))
        yield from entries.values()

    def _said(self, name: str) -> Iterator[_Said]:
        """What each side says, the weakest first."""
        key, item = key_of(name), _FIELDS[name]
        if item.metadata["unsaid"] is not None:
            yield _Said(item.metadata["unsaid"], DEFAULT)
        if key in self.below:
            yield _Said(*self.below[key])
        for owner, table in (
            (self.settings.build, ("build",)),
            (self.image, ("image", self.image.name)),
        ):
            value = getattr(owner, name, None)
            if value not in (None, ()) or (*table, key) in self.settings.lines:
                yield _Said(value, "", (*table, key))
        if key in self.flags:
            flag = self.flags[key]
            if not isinstance(flag, Told):
                flag = Told(flag, item.metadata["flag"] or f"--{key}")
            yield _Said(*flag)

    def _source(self, said: _Said, entry: tuple[str, ...]) -> str:
        if not said.path:
            return said.source
        file = os.path.basename(self.settings.path or FILE_NAME)
        lines = self.settings.lines
        # Of ko's file no lines are known.
        return f"{file}:{line_of(lines, (*said.path, *entry))}" if lines else file


def _in_order() -> list[Field[Any]]:
    common = {item.name for item in declared(ImageDefaults)}
    return sorted(declared(ImageSettings), key=lambda item: item.name in common)


def _rows(key: str, value: Any) -> Iterator[str]:  # noqa: ANN401 - any value of the settings
    value = _plain(value)
    row = f"{key} = {toml_value(value)}"
    if len(row) < _COLUMN or not isinstance(value, tuple) or not value:
        yield row
        return
    yield f"{key} = ["
    for item in value:
        yield f"  {toml_value(item)},"
    yield "]"


def _plain(value: Any) -> Any:  # noqa: ANN401 - any value of the settings
    """`value` with entries of `files` as the tables that the file writes."""
    if isinstance(value, FileEntry):
        table = {"from": value.source, "to": value.target, "owner": value.owner or None}
        table["mode"] = None if value.mode is None else f"{value.mode:04o}"
        return {key: part for key, part in table.items() if part is not None}
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value


_FIELDS: dict[str, Field[Any]] = {
    item.name: item for item in (*declared(BuildSettings), *declared(ImageSettings))
}
