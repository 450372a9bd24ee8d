# SPDX-License-Identifier: Apache-2.0
"""What any value in a file of settings may be: texts, lists, tables, one of some words.

A parser takes the value as TOML gives it and returns the frozen value of the settings; it raises
`UsageError`, to which the reader adds the key and the line, or `SeveralErrors` of `EntryError`
where several entries of one value are wrong. Beside each stands what JSON Schema can say of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from wherry.errors import SeveralErrors, UsageError, WherryError, near
from wherry.oci.image import Pairs
from wherry.oci.reference import parse_reference
from wherry.settings.declaration import EntryError

BASES = ("static", "scratch")
STAMPS = ("off", "labels", "full")
COMPRESSIONS = ("gzip", "zstd", "uncompressed")

_T = TypeVar("_T")

TEXT: Final = {"type": "string", "pattern": "^[^\\u0000]*$"}
TEXTS: Final = {"type": "array", "items": TEXT}
FLAG: Final = {"type": "boolean"}
PAIRS: Final = {
    "type": "object",
    "propertyNames": {"pattern": "^[^\\u0000]+$"},
    "additionalProperties": TEXT,
}
# What is an image reference goes through this; not all that goes through is one.
REFERENCE: Final = {
    "type": "string",
    "pattern": "^[A-Za-z0-9\\[][A-Za-z0-9._:/\\[\\]-]*(?:@[a-z0-9]+:[a-f0-9]+)?$",
}
BASE: Final = {
    "anyOf": [{"enum": list(BASES)}, REFERENCE],
    "$comment": "wherry reads the reference, and refuses words that are almost a composed base",
}
LIBC_BASE: Final = {
    **REFERENCE,
    "not": {"enum": list(BASES)},
    "$comment": "wherry reads the reference",
}


def parse_text(value: object) -> str:
    """Any string without NUL."""
    if not isinstance(value, str):
        hint = ""
        if isinstance(value, int | float) and not isinstance(value, bool):
            hint = f'put it in quotes: "{value}"'
        raise UsageError(f"wants a string, not {noun(value)}", hint=hint)
    if "\0" in value:
        raise UsageError("holds a NUL character")
    return value


def parse_flag(value: object) -> bool:
    """`true` or `false`."""
    if not isinstance(value, bool):
        raise UsageError(f"wants true or false, not {noun(value)}")
    return value


def parse_texts(value: object) -> tuple[str, ...]:
    """A list of strings."""
    return parse_items(value, parse_text)


def parse_pairs(value: object, parse: Callable[[object], str] = parse_text) -> Pairs:
    """A table of strings, in the order of the file; `parse` reads one of them."""
    return tuple(parse_entries(value, lambda name, item: (_named(name), parse(item))[1]))


def one_of(choices: tuple[str, ...]) -> Callable[[object], str]:
    """A parser for one of `choices`."""

    def parse(value: object) -> str:
        text = parse_text(value)
        if text not in choices:
            why = f"it is one of {', '.join(choices)}"
            raise UsageError(f"does not know {text!r}", why=why, hint=near(text, choices))
        return text

    return parse


def choice_of(choices: tuple[str, ...]) -> dict[str, Any]:
    """The schema of `one_of(choices)`."""
    return {"enum": list(choices)}


def list_of(item: dict[str, Any], comment: str = "") -> dict[str, Any]:
    """The schema of a list; `comment` says what only the parser checks of an item."""
    return {"type": "array", "items": {**item, "$comment": comment} if comment else item}


def parse_base(value: object) -> str:
    """`static`, `scratch`, or an image reference as the file writes it."""
    text = parse_text(value)
    if text not in BASES:
        if meant := _misspelt_base(text):
            raise UsageError(
                f"does not know {text!r}",
                why=f"it is one of {', '.join(BASES)}, or an image reference",
                hint=f"did you mean '{meant}'? the image is docker.io/library/{text.lower()}",
            )
        _check_image(text)
    return text


def parse_libc_base(value: object) -> str:
    """An image reference; the composed bases hold no C library."""
    text = parse_text(value)
    if text in BASES:
        hint = 'name an image with one, for example "docker.io/library/debian:12-slim"'
        raise UsageError(f"{text!r} holds no C library", hint=hint)
    _check_image(text)
    return text


def parse_items(value: object, parse: Callable[[object], _T]) -> tuple[_T, ...]:
    """The items of a list, each by `parse`; raises as `parse_entries`."""
    if not isinstance(value, list):
        hint = "put it into brackets" if isinstance(value, str) else ""
        raise UsageError(f"wants a list, not {noun(value)}", hint=hint)
    return tuple(item for _, item in _each(enumerate(value), lambda _, item: parse(item)))


def parse_entries(value: object, parse: Callable[[str, object], _T]) -> list[tuple[str, _T]]:
    """The entries of a table, each by `parse(name, item)`.

    What is wrong with them is raised at once, as `SeveralErrors` of `EntryError`.
    """
    if not isinstance(value, dict):
        raise UsageError(f"wants a table, not {noun(value)}")
    return _each(value.items(), parse)


def refuse_twice(items: tuple[_T, ...], identity: Callable[[_T], object]) -> None:
    """Raise `SeveralErrors` of `EntryError` for each item whose identity came before."""
    seen: set[object] = set()
    errors: list[EntryError] = []
    for index, item in enumerate(items):
        name = identity(item)
        if name in seen:
            shown = item if isinstance(item, str) else name
            error = UsageError(f"names {shown!r} twice", hint="leave one of them out")
            errors.append(EntryError(index, error))
        seen.add(name)
    if errors:
        raise SeveralErrors(tuple(errors))


def noun(value: object) -> str:
    """What people call a value of TOML: `a string`."""
    match value:
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or time"


_Name = TypeVar("_Name", str, int)


def _each(
    items: Iterable[tuple[_Name, object]], parse: Callable[[_Name, object], _T]
) -> list[tuple[_Name, _T]]:
    found: list[tuple[_Name, _T]] = []
    errors: list[WherryError] = []
    for name, item in items:
        try:
            found.append((name, parse(name, item)))
        except SeveralErrors as several:
            causes = (error for error in several.errors if isinstance(error, UsageError))
            errors.extend(EntryError(name, error) for error in causes)
        except UsageError as error:
            errors.append(EntryError(name, error))
    if errors:
        raise SeveralErrors(tuple(errors))
    return found


def _named(name: str) -> str:
    if not name or "\0" in name:
        raise UsageError(f"{name!r} is no name", hint="names have at least one letter")
    return name


def _check_image(text: str) -> None:
    if "{{" in text:
        raise UsageError(f"{text!r} is a template", hint="write the reference itself",
                         why="what a build starts from does not depend on the commit")  # fmt: skip
    parse_reference(text)


def _misspelt_base(word: str) -> str:
    """The composed base that a plain word almost is; only then it is more likely than an image."""
    if any(mark in word for mark in "/:.@"):
        return ""
    import difflib  # noqa: PLC0415 - only for files that name a base by reference

    return next(iter(difflib.get_close_matches(word, BASES, n=1, cutoff=0.8)), "")
