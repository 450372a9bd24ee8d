# SPDX-License-Identifier: Apache-2.0
"""A TOML text while it is read: its tables, the lines of its keys, and what is wrong so far.

Loaded only where a file exists: tomllib is not for builds that have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from wherry.errors import SeveralErrors, UsageError, WherryError, near, shortened
from wherry.settings.declaration import EntryError, FilePlace, Kind, declared, key_of
from wherry.settings.lines import KeyPath, line_of, locate_keys, name_of
from wherry.settings.toml_reading import read_toml

# Looking for near names takes time: nobody reads more of them.
_MOST_HINTS = 100
# Nor does anybody read more errors of one file.
_MOST_ERRORS = 500


class Document:
    """One file; `shown` is what errors call it, `place` what paths in it are relative to.

    `elsewhere` says by key in which table it belongs, for keys that people put into another one.
    Raises `UsageError` for what is no TOML.
    """

    def __init__(
        self, text: str, shown: str, place: FilePlace, elsewhere: Mapping[str, str] | None = None
    ) -> None:
        self.tables: dict[str, Any] = read_toml(text, shown)
        self.lines: Mapping[KeyPath, int] = MappingProxyType(keys := locate_keys(text))
        self._shown = shown
        self._place = place
        self._elsewhere = elsewhere or {}
        self._keys = keys
        self._errors: list[tuple[int, UsageError]] = []

    def wrong(self, path: KeyPath, error: UsageError) -> None:
        """Note `error` at the line of `path`."""
        line = line_of(self._keys, path)
        error.where = f"{self._shown}:{line}"
        error.what, error.hint = shortened(error.what), shortened(error.hint)
        error.why = shortened(error.why)
        self._errors.append((line, error))

    def finish(self) -> None:
        """Raise what was noted, in the order of the file."""
        errors = tuple(error for _, error in sorted(self._errors, key=lambda item: item[0]))
        if (more := len(errors) - _MOST_ERRORS) > 0:
            rest = UsageError(f"{more} more errors", hint="mend these first", where=self._shown)
            errors = (*errors[:_MOST_ERRORS], rest)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise SeveralErrors(errors)

    def refuse_unknown(self, path: KeyPath, table: dict[str, Any], known: tuple[str, ...]) -> None:
        """Note an error for each key of `table`, which stands at `path`, that is not in `known`."""
        for key in table:
            if key in known:
                continue
            full: KeyPath = (*path, key)
            if path and (place := self._elsewhere.get(key)):
                hint = f"it belongs into {place}"
            else:
                hint = self._near(key, known) or f"known here: {', '.join(sorted(known))}"
            self.wrong(full, UsageError(f"unknown key {name_of(full)}", hint=hint))

    def _near(self, key: str, known: tuple[str, ...]) -> str:
        return near(key, known) if len(self._errors) < _MOST_HINTS else ""

    def table(self, path: KeyPath, value: object) -> dict[str, Any]:
        """`value` where it is a table, else an empty one with an error noted."""
        if isinstance(value, dict):
            return value
        name = name_of(path)
        self.wrong(path, UsageError(f"{name} is no table", hint=f"write [{name}]"))
        return {}

    def values(
        self, path: KeyPath, value: object, owner: type[Any], besides: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """What the table `value` says for `owner`'s keys, by field; what is wrong is noted.

        The keys `besides` are the caller's.
        """
        table = self.table(path, value)
        keys = {key_of(item.name): item for item in declared(owner)}
        self.refuse_unknown(path, table, (*keys, *besides))
        found: dict[str, Any] = {}
        for key, item in keys.items():
            if key not in table:
                continue
            if item.metadata["users"] and self._place.home is None:
                self.wrong((*path, key), _for_users((*path, key)))
                continue
            try:
                found[item.name] = self._parsed(item.metadata["kind"], table[key])
            except SeveralErrors as several:
                for error in several.errors:
                    self._wrong_value((*path, key), error)
            except UsageError as error:
                self._wrong_value((*path, key), error)
        return found

    def _parsed(self, kind: Kind, value: object) -> object:
        parsed = kind.parse(value)
        return kind.locate(parsed, self._place) if kind.locate else parsed

    def _wrong_value(self, path: KeyPath, error: WherryError) -> None:
        if isinstance(error, EntryError):
            path = (*path, *error.entries)
        what = f"{name_of(path)}: {error.what}"
        self.wrong(path, UsageError(what, why=error.why, hint=error.hint))


def _for_users(path: KeyPath) -> UsageError:
    return UsageError(
        f"{name_of(path)} is for the user's own settings",
        why="a repository may not choose keys that prove who you are",
        hint=f"move it to [{path[0]}] in $XDG_CONFIG_HOME/wherry/config.toml",
    )
