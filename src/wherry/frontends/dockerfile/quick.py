# SPDX-License-Identifier: Apache-2.0
"""The words that nearly every Dockerfile is made of, expanded quickly.

These are words of ASCII with `$name`, `${name}`, and `${name:-plain}` and the like with `:+`, `-`,
`+`, `#`, `##`, `%`, `%%`, perhaps in one pair of double quotes. All others are left to
`wherry.frontends.dockerfile.words`, whose result is the same wherever this has one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from wherry.frontends.dockerfile.shell_pattern import LONGEST, without_prefix, without_suffix

_NAME: Final = "[A-Za-z_][A-Za-z0-9_]*"
_OPERAND: Final = r"(?:(?::?[-+]|[#%])[^$'\"\\`{}]*+)?"
_FORM: Final = rf"\$(?:{_NAME}|\{{{_NAME}{_OPERAND}\}})"
# Groups are not possessive: before 3.11.5 Python forgets there what it has tried (gh-106052).
_EASY: Final = re.compile(rf"(?:[^$'\"\\`]++|{_FORM})*")
# Where quotes stay, double ones in pairs change nothing.
_EASY_RAW: Final = re.compile(rf"(?:[^$'\\`]++|{_FORM})*")
_VARIABLE: Final = re.compile(rf"\$(?:({_NAME})|\{{({_NAME})(?:(:?[-+]|[#%])([^}}]*))?\}})")


class _TooLong(Exception):
    """The word is for `words` to refuse."""


class Quick(NamedTuple):
    """A word's meaning, and the variables that it names but nobody set."""

    text: str
    unmatched: tuple[str, ...]


def quick(word: str, variables: Mapping[str, str], *, raw: bool = False) -> Quick | None:
    """Expand an easy word; None for any other.

    `raw` keeps quotes, and variables that are not set as they are written.
    """
    if raw:
        easy = _EASY_RAW.fullmatch(word) is not None and word.count('"') % 2 == 0
    else:
        if len(word) > 1 and word[0] == '"' == word[-1]:
            word = word[1:-1]
        easy = _EASY.fullmatch(word) is not None
    if not easy or not word.isascii():
        return None
    unmatched: list[str] = []
    length = 0

    def value(found: re.Match[str]) -> str:
        nonlocal length
        name = found[1] or found[2]
        known = variables.get(name)
        length += len(known or "")
        if length > LONGEST:
            raise _TooLong
        if known is None:
            unmatched.append(name)
            if raw:
                return found[0]
        operator = found[3]
        return _applied(known, operator, found[4]) if operator else known or ""

    try:
        return Quick(_VARIABLE.sub(value, word), tuple(unmatched))
    except _TooLong:
        return None


def _applied(value: str | None, operator: str, operand: str) -> str:
    """`${name:-operand}` and the like, for a variable's value."""
    if operator in "#%":
        trim = without_prefix if operator == "#" else without_suffix
        longest = operand.startswith(operator)
        return trim(value or "", operand[longest:], longest=longest)
    given = value is not None and (value != "" or operator[0] != ":")
    if operator[-1] == "+":
        return operand if given else ""
    return value or "" if given else operand
