# SPDX-License-Identifier: Apache-2.0
"""The fields of one `--output`: a CSV record (RFC 4180) of `key=value`, each key once."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import NamedTuple, Self

from wherry.errors import UsageError

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def fields_of(text: str) -> list[str]:
    """The record's fields; raises `UsageError` where it is not one record, or empty."""
    try:
        records = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise not_an_output(text, f"not one CSV record: {error}") from error
    if len(records) != 1 or not any(records[0]):
        raise not_an_output(text, "nothing is in it")
    return records[0]


def not_an_output(text: str, why: str, hint: str = "write it as type=oci,dest=FILE") -> UsageError:
    """The error for an `--output` that cannot be understood."""
    return UsageError(f"not an output: {text!r}", why=why, hint=hint)


class Attributes(NamedTuple):
    """The keys and values of the output that was written as `source`."""

    source: str
    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, source: str, fields: Iterable[str]) -> Self:
        """Take the fields apart; keys are of any case. Raises `UsageError`."""
        found: dict[str, str] = {}
        for field in fields:
            key, equals, value = field.partition("=")
            key = key.strip().lower()
            if not equals:
                raise not_an_output(source, f"{field!r} is not key=value")
            if key in found:
                raise not_an_output(source, f"{key!r} is there twice")
            found[key] = value
        return cls(source, tuple(found.items()))

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that were said."""
        return tuple(key for key, _ in self.pairs)

    def raw(self, key: str) -> str:
        """The value as it was written; empty where it was not."""
        return dict(self.pairs).get(key, "")

    def text(self, key: str) -> str:
        """The value without spaces around it."""
        return self.raw(key).strip()

    def boolean(self, key: str, *, default: bool) -> bool:
        """true or 1, false or 0; raises `UsageError` for another word."""
        if key not in self.keys:
            return default
        word = self.text(key).lower()
        if word not in _BOOLEANS:
            raise self.wrong(f"{key}={word} is neither true nor false")
        return _BOOLEANS[word]

    def number(self, key: str) -> int | None:
        """A whole number, None where nothing was said; raises `UsageError` for another word."""
        word = self.text(key)
        if key not in self.keys:
            return None
        if not (word.isascii() and word.isdigit() and len(word) < 10):
            raise self.wrong(f"{key}={word} is no whole number", "write digits, such as 9")
        return int(word)

    def wrong(self, why: str, hint: str = "write it as type=oci,dest=FILE") -> UsageError:
        """The error for this output."""
        return not_an_output(self.source, why, hint)
