# SPDX-License-Identifier: Apache-2.0
"""The words that nearly every Dockerfile is made of, expanded quickly.

These are words of ASCII with `$name` and `${name}`, perhaps in one pair of double quotes. All
others are left to `wherry.frontends.dockerfile.words`, whose result is the same wherever this has
one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

_NAME: Final = "[A-Za-z_][A-Za-z0-9_]*"
_EASY: Final = re.compile(rf"(?:[^$'\"\\`]++|\$(?:{_NAME}|\{{{_NAME}\}}))*+")
_VARIABLE: Final = re.compile(rf"\$(?:({_NAME})|\{{({_NAME})\}})")


class Quick(NamedTuple):
    """A word's meaning, and the variables that it names but nobody set."""

    text: str
    unmatched: tuple[str, ...]


def quick(word: str, variables: Mapping[str, str], *, keep_unset: bool = False) -> Quick | None:
    """Expand an easy word; None for any other. `keep_unset` leaves what is not set as written."""
    if len(word) > 1 and word[0] == '"' == word[-1] and not keep_unset:
        word = word[1:-1]
    if not word.isascii() or _EASY.fullmatch(word) is None:
        return None
    unmatched: list[str] = []

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        known = variables.get(name)
        if known is not None:
            return known
        unmatched.append(name)
        return found[0] if keep_unset else ""

    return Quick(_VARIABLE.sub(value, word), tuple(unmatched))
