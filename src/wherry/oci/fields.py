# SPDX-License-Identifier: Apache-2.0
"""Fields of JSON documents that strangers wrote, as typed values or a `UsageError`.

A document is one UTF-8 JSON object (RFC 8259) that every reader takes for the same: without
duplicate keys, lone surrogates, NaN or Infinity. An absent field and `null` mean the same, as Go's
tools write them; a value of another type is an error, never a guess. Texts of strangers are shown
in ASCII.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final, NoReturn, cast

from wherry.errors import UsageError

Pairs = tuple[tuple[str, str], ...]
Object = dict[str, object]

# Go's readers hold numbers as int64.
MOST: Final = (1 << 63) - 1
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def pairs(mapping: dict[str, str]) -> Pairs:
    """A mapping as sorted pairs, so that a value that holds it stays hashable."""
    return tuple(sorted(mapping.items()))


def parse_object(data: bytes, noun: str) -> Object:
    """The object in `data`; `noun` names the document in the `UsageError` for anything else."""
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise UsageError(f"{noun} is not usable", why="its JSON is nested too deeply") from error
    except UnicodeError as error:
        raise UsageError(f"{noun} is not JSON", why="it is not UTF-8 text") from error
    except ValueError as error:
        raise UsageError(f"{noun} is not JSON", why=ascii(str(error))[1:-1]) from error
    return as_object(value, noun)


def as_object(value: object, noun: str) -> Object:
    """`value` if it is an object."""
    if not isinstance(value, dict):
        raise UsageError(f"{noun} is not a JSON object")
    return value


def object_of(value: Object, key: str, noun: str) -> Object:
    """The object at `key`; empty where there is none."""
    found = value.get(key)
    return {} if found is None else as_object(found, f"{key} of {noun}")


def text_of(value: Object, key: str, noun: str) -> str:
    """The text at `key`; empty where there is none."""
    found = value.get(key)
    if found is None:
        return ""
    if not isinstance(found, str):
        _refuse(key, noun, "a text")
    return found


def list_of(value: Object, key: str, noun: str) -> list[object]:
    """The list at `key`; empty where there is none."""
    found = value.get(key)
    if found is None:
        return []
    if not isinstance(found, list):
        _refuse(key, noun, "a list")
    return found


def texts_of(value: Object, key: str, noun: str) -> tuple[str, ...]:
    """The texts at `key`, in their order; none where there is nothing."""
    found = list_of(value, key, noun)
    if not all(isinstance(item, str) for item in found):
        _refuse(key, noun, "a list of texts")
    return cast("tuple[str, ...]", tuple(found))


def pairs_of(value: Object, key: str, noun: str) -> Pairs:
    """The mapping of texts at `key`; a `null` in it is an empty text, as Go reads it."""
    found = {
        name: "" if item is None else item for name, item in object_of(value, key, noun).items()
    }
    if not all(isinstance(item, str) for item in found.values()):
        _refuse(key, noun, "a mapping of texts")
    return pairs(cast("dict[str, str]", found))


def number_of(value: Object, key: str, noun: str, least: int = 0) -> int | None:
    """The whole number at `key`, from `least` to what an int64 holds; None where there is none."""
    found = value.get(key)
    if found is None:
        return None
    if type(found) is not int or not least <= found <= MOST:
        _refuse(key, noun, f"a whole number from {least} to {MOST}")
    return found


def _refuse(key: str, noun: str, wanted: str) -> NoReturn:
    raise UsageError(f"{key} of {noun} is not {wanted}")


def _unique(items: Iterable[tuple[str, object]]) -> Object:
    found: Object = {}
    for key, item in items:
        if key in found:
            raise ValueError(f"the key {key[:80]!r} stands twice in one object")
        found[key] = item
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number in JSON")
