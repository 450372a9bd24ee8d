# SPDX-License-Identifier: Apache-2.0
"""What `${name...}` comes to once everything inside it is known (Dockerfile reference,
"Environment replacement").

Texts come in pieces, which may be nested, so that handing a long text outwards costs nothing.
"""

from __future__ import annotations

from typing import Final, Union

from wherry.frontends.dockerfile.shell_pattern import (
    PatternError,
    all_replaced,
    replaced,
    without_prefix,
    without_suffix,
)

Piece = Union[str, "list[Piece]"]

OPERATORS: Final = (":-", "-", ":+", "+", ":?", "?", "#", "%")
"""What may stand between name and operand; `##` and `%%` are seen in the operand."""


class FormError(ValueError):
    """A form that cannot be evaluated; the message is for the user."""


def joined(pieces: Piece) -> str:
    """Pieces as one text, however deep they are nested."""
    texts: list[str] = []
    rest: list[Piece] = [pieces]
    while rest:
        piece = rest.pop()
        if isinstance(piece, str):
            texts.append(piece)
        else:
            rest.extend(reversed(piece))
    return "".join(texts)


def name_end(text: str, start: int) -> int:
    """Where a name that begins at `start` ends; `start` itself if there is none.

    A name is digits, one special character, or letters, digits and underscores.
    """
    end = start
    if text[start : start + 1].isdecimal():
        while text[end : end + 1].isdecimal():
            end += 1
        return end
    if text[start : start + 1] in _SPECIAL_NAMES:
        return start + 1
    while (found := text[end : end + 1]) and (found == "_" or found.isalpha() or found.isdecimal()):
        end += 1
    return end


_SPECIAL_NAMES: Final = frozenset("@*#?-$!")


def check_operator(operator: str) -> None:
    """Raise `FormError` for anything that is not in `OPERATORS`."""
    if operator in (":#", ":%"):
        raise FormError(f"'{operator}' is no operator; write '{operator[1]}'")
    if operator not in OPERATORS:
        raise FormError(f"{operator!r} is no operator for a variable's value")


def evaluated(name: str, operator: str, value: str | None, operand: Piece) -> Piece:
    """`${name<operator>operand}`, with None for a variable that is not set.

    Raises `FormError`, also where `?` finds no value.
    """
    check_operator(operator)
    missing = value is None or (operator[0] == ":" and not value)
    match operator[-1]:
        case "-":
            return operand if value is None or missing else value
        case "+":
            return "" if missing else operand
        case "?":
            if value is None or missing:
                fault = "unset" if value is None else "empty"
                raise FormError(f"{name}: {joined(operand) or f'is not allowed to be {fault}'}")
            return value
        case _:
            return _trimmed(value or "", operator, joined(operand))


def _trimmed(value: str, operator: str, pattern: str) -> str:
    longest = pattern.startswith(operator)
    trim = without_prefix if operator == "#" else without_suffix
    try:
        return trim(value, pattern[longest:], longest=longest)
    except PatternError as error:
        raise FormError(f"the pattern after '{operator}' is not right: {error}") from None


def with_replaced(value: str, pattern: str, replacement: str, *, everywhere: bool) -> str:
    """`${name/pattern/replacement}` of a value, or `//`; raises `FormError`."""
    replace = all_replaced if everywhere else replaced
    try:
        return replace(value, pattern, replacement)
    except PatternError as error:
        raise FormError(f"the pattern after '/' is not right: {error}") from None
