# SPDX-License-Identifier: Apache-2.0
"""How a key is declared: a field of a frozen class, with its kind and meaning as metadata.

Reading a file, its JSON schema, its reference page and its example all go by these declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, field, fields
from typing import Any, NamedTuple

from wherry.errors import UsageError


class FilePlace(NamedTuple):
    """Where a file of settings lies: relative paths in it are below `directory`.

    `home` is what `~/` stands for: None where the file may not say it, empty where nobody knows.
    """

    directory: str
    home: str | None = None


class Kind(NamedTuple):
    """A kind of value: its name for people, a parser, and TOML text as an example.

    `parse` takes the value as TOML gives it and returns the frozen value of the settings; it
    raises `UsageError`, to which the reader adds the key and the line, or `SeveralErrors` of them.
    `locate` then makes the paths in it absolute. `schema` is what JSON Schema (draft 2020-12) can
    say of the value: it takes whatever the parser takes, and a `$comment` in it names what only
    the parser checks.
    """

    name: str
    parse: Callable[[object], Any]
    example: str
    locate: Callable[[Any, FilePlace], Any] | None = None
    schema: Mapping[str, Any] | None = None


class EntryError(UsageError):
    """What is wrong with one entry of a value: told at the entry's own line.

    `entry` is the name of a table's entry, or the number of a list's item, from 0.
    """

    def __init__(self, entry: str | int, cause: UsageError) -> None:
        super().__init__(cause.what, why=cause.why, hint=cause.hint)
        self.entries: tuple[str | int, ...] = (entry,)
        if isinstance(cause, EntryError):
            self.entries += cause.entries


def setting(  # a declaration has that many parts
    kind: Kind,
    doc: str,
    default: object = None,
    *,
    users: bool = False,
    flag: str = "",
    unsaid: object = None,
) -> Any:  # noqa: ANN401 - stands for any field
    """Declare a key: its kind, and one sentence for the reference without its full stop.

    `users` keys are for the user's own file: a repository may not say them. `flag` is the flag of
    `wherry build` that beats the key. `unsaid` is what holds where neither file nor flag speaks;
    None where nothing does, or where it depends.
    """
    metadata = {"kind": kind, "doc": doc, "users": users, "flag": flag, "unsaid": unsaid}
    return field(default=default, metadata=metadata)


def declared(owner: type[Any]) -> tuple[Field[Any], ...]:
    """The fields of `owner` that are keys, in the order of their declaration."""
    return tuple(item for item in fields(owner) if "kind" in item.metadata)


def key_of(field_name: str) -> str:
    """The key in the file: `build_tags` is written `build-tags`, and `from_` `from`."""
    return field_name.rstrip("_").replace("_", "-")
