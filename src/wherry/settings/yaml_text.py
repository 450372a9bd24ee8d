# SPDX-License-Identifier: Apache-2.0
"""YAML as plain values with their lines: texts, lists and tables, and nothing that is executed.

Only the parser of PyYAML is used, never its constructors: a scalar stays the text that somebody
wrote, whatever YAML takes it for (`1.20`, `yes`). A file is bounded in size, depth and in what its
aliases would amount to, before anything walks through it. PyYAML is loaded here alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from wherry.errors import UsageError

MAX_CHARACTERS: Final = 256 * 1024
_MAX_DEPTH: Final = 32
_MAX_VALUES: Final = 20_000
_TAGS: Final = "tag:yaml.org,2002:"
_SCALARS: Final = ("str", "int", "float", "bool", "null", "timestamp", "value", "merge")


@dataclass(frozen=True, slots=True)
class Text:
    """A scalar as it is written; `text` is None for null."""

    text: str | None
    line: int


@dataclass(frozen=True, slots=True)
class Listing:
    """A list; lines count from 1."""

    items: tuple[Value, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Table:
    """A table in the order of the file, with what it merges in by `<<` behind its own entries."""

    entries: tuple[tuple[str, Value], ...]
    line: int


Value = Text | Listing | Table


def read_yaml(text: str, shown: str) -> Value:
    """The one document in `text`; an empty one is null.

    `shown` is what errors call the file. Raises `UsageError` for what is no YAML or too much of it.
    """
    import yaml  # noqa: PLC0415 - for those who migrate; it takes 20 ms

    if len(text) > MAX_CHARACTERS:
        why = f"it has {len(text)} characters, and {MAX_CHARACTERS} are read"
        raise UsageError(f"{shown} is too large", why=why, hint=_SMALLER)
    try:
        _check_depth(yaml, text, shown)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise _syntax_error(error, shown) from None
    if root is None:
        return Text(None, 1)
    return _Reader(shown).value(root)


_SMALLER: Final = "leave out what is not for the build"


def _check_depth(yaml: Any, text: str, shown: str) -> None:  # noqa: ANN401 - a module without types
    """The composer is recursive; events are not."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                where = f"{shown}:{event.start_mark.line + 1}"
                raise UsageError(f"nested more than {_MAX_DEPTH} deep", hint=_SMALLER, where=where)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _syntax_error(error: Any, shown: str) -> UsageError:  # noqa: ANN401 - as above
    mark = getattr(error, "problem_mark", None)
    where = f"{shown}:{mark.line + 1}:{mark.column + 1}" if mark else shown
    why = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
    return UsageError("not valid YAML", why=str(why), hint="mend the line", where=where)


class _Reader:
    """Makes values of PyYAML's nodes; what an alias repeats counts each time."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._count = 0
        self._open: set[int] = set()

    def value(self, node: Any) -> Value:  # noqa: ANN401 - PyYAML's nodes
        line = node.start_mark.line + 1
        self._count += 1
        if self._count > _MAX_VALUES:
            raise self._error(line, f"holds more than {_MAX_VALUES} values with its aliases")
        if id(node) in self._open:
            raise self._error(line, "an alias holds itself")
        self._open.add(id(node))
        try:
            return self._made(node, line)
        finally:
            self._open.discard(id(node))

    def _made(self, node: Any, line: int) -> Value:  # noqa: ANN401 - PyYAML's nodes
        kind = node.tag.removeprefix(_TAGS)
        if node.id == "sequence" and kind == "seq":
            return Listing(tuple(self.value(item) for item in node.value), line)
        if node.id == "mapping" and kind == "map":
            return self._table(node, line)
        if node.id == "scalar" and kind in _SCALARS:
            return Text(None if kind == "null" else node.value, line)
        raise self._error(line, f"the tag {node.tag!r} is not read")

    def _table(self, node: Any, line: int) -> Table:  # noqa: ANN401 - PyYAML's nodes
        own: dict[str, Value] = {}
        merged: dict[str, Value] = {}
        for key_node, value_node in node.value:
            key = self.value(key_node)
            if not isinstance(key, Text) or key.text is None:
                raise self._error(key.line, "a key is no text")
            value = self.value(value_node)
            if key_node.tag == f"{_TAGS}merge":
                for table in value.items if isinstance(value, Listing) else (value,):
                    merged = {**self._entries(table), **merged}
            elif key.text in own:
                raise self._error(key.line, f"{key.text} stands here twice")
            else:
                own[key.text] = value
        rest = ((key, value) for key, value in merged.items() if key not in own)
        return Table((*own.items(), *rest), line)

    def _entries(self, value: Value) -> dict[str, Value]:
        if not isinstance(value, Table):
            raise self._error(value.line, "'<<' merges tables only")
        return dict(value.entries)

    def _error(self, line: int, what: str) -> UsageError:
        return UsageError(what, hint="mend the line", where=f"{self._shown}:{line}")
