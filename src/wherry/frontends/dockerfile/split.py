# SPDX-License-Identifier: Apache-2.0
"""An instruction's text in parts: keyword, flags, and arguments as its syntax splits them.

Quotes and escapes stay in the arguments, for they mean something to the expansion that follows; in
flags they are taken away. A space is what Unicode says, except between a keyword, its flags and
words of plain lists, where ASCII's spaces alone divide.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Final, NamedTuple

from wherry.frontends.dockerfile.gotext import quoted
from wherry.frontends.dockerfile.refusals import SPACES, BadValue

_GAP: Final = re.compile(r"[\t\v\f\r ]+")
_BLANK: Final = "\t\v\f\r "
# Groups are not possessive: before 3.11.5 Python forgets there what it has tried (gh-106052).
_JSON_STRING: Final = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"[ \t\n\r]*+'
_JSON_STRINGS: Final = re.compile(
    rf"\[[ \t\n\r]*+(?:{_JSON_STRING}(?:,[ \t\n\r]*+{_JSON_STRING})*)?\]"
)
# Pairs of escapes for one character, halves of pairs, and all other escapes.
_ESCAPES: Final = (
    r"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(\\u[dD][89a-fA-F]..)|\\."
)
# A flag without quotes and escapes, as nearly all are.
_PLAIN_FLAG: Final = re.compile(r"--[^\t\v\f\r '\"\\`]*+(?![^\t\v\f\r ])")


class FlagText(NamedTuple):
    """A flag without its quotes and escapes, and where it stands in the text."""

    text: str
    start: int
    end: int


class Split(NamedTuple):
    """An instruction's text in three: `rest` is stripped and begins at `rest_at`."""

    keyword: str
    flags: tuple[FlagText, ...]
    rest: str
    rest_at: int


def split_instruction(text: str, escape: str) -> Split:
    """Divide an instruction: flags are the words with `--` before any other, up to a bare `--`."""
    body = text.rstrip(SPACES)
    start = len(body) - len(body.lstrip(SPACES))
    gap = _GAP.search(body, start)
    if gap is None:
        return Split(body[start:], (), "", len(body))
    at = gap.end()
    flags: list[FlagText] = []
    while body.startswith("--", at):
        plain = _PLAIN_FLAG.match(body, at)
        flag = FlagText(plain[0], *plain.span()) if plain else _read_flag(body, at, escape)
        at = flag.end
        if flag.text == "--":
            break
        flags.append(flag)
        while at < len(body) and body[at] in _BLANK:
            at += 1
    rest = body[at:].lstrip(SPACES)
    return Split(body[start : gap.start()], tuple(flags), rest, len(body) - len(rest))


def _read_flag(text: str, start: int, escape: str) -> FlagText:
    value: list[str] = []
    quote = ""
    at = start
    while at < len(text):
        char = text[at]
        if not quote and char in _BLANK:
            break
        if char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        elif char == escape:
            at += 1
            value.append(text[at : at + 1])
        else:
            value.append(char)
        at += 1
    return FlagText("".join(value), start, min(at, len(text)))


def split_words(text: str, escape: str) -> tuple[str, ...]:
    """Words with their quotes and escapes: neither quoted nor escaped spaces divide them."""
    words = []
    for found in _word(escape).finditer(text):
        # An escape with nothing after it is left out.
        word = found[0] if found.lastindex is None else found[0][:-1]
        if word:
            words.append(word)
    return tuple(words)


@cache
def _word(escape: str) -> re.Pattern[str]:
    char = re.escape(escape)
    escaped = rf"{char}(?:.|(\Z))"
    double = rf'"(?:[^"{char}]|{escaped})*"?'
    return re.compile(rf"(?:{escaped}|'[^']*+'?|{double}|[^'\"{char}{SPACES}])+", re.S)


def split_list(text: str) -> tuple[str, ...]:
    """Words between ASCII spaces, quotes or not."""
    return tuple(_GAP.split(text)) if text else ()


def split_first(text: str) -> tuple[str, str]:
    """The first word between ASCII spaces, and the text after it."""
    word, *rest = _GAP.split(text, maxsplit=1)
    return word, rest[0] if rest else ""


def split_pairs(text: str, escape: str, keyword: str) -> tuple[str, ...]:
    """`NAME=VALUE ...` or the old `NAME VALUE` as triples of name, value and separator.

    The separator is empty for the old form. Raises `BadValue`.
    """
    words = split_words(text, escape)
    if not words:
        return ()
    if "=" not in words[0]:
        name, value = split_first(text)
        if not value:
            raise BadValue(f"{keyword} needs a name and a value", f"write {keyword} {name}=VALUE")
        return name, value, ""
    triples: list[str] = []
    for word in words:
        name, equals, content = word.partition("=")
        if not equals:
            hint = "write NAME=VALUE, and quotes around a value with spaces"
            raise BadValue(f"no = in {quoted(word)}", hint)
        triples += (name, content, equals)
    return tuple(triples)


def split_json(text: str) -> tuple[str, ...] | None:
    """The strings of a JSON array (RFC 8259), None for what is not one and thus no exec form.

    Raises `BadValue` for an array that holds anything but strings.
    """
    text = text.lstrip(SPACES)
    if text[:1] != "[":
        return None
    if _JSON_STRINGS.fullmatch(text):
        return tuple(json.loads(re.sub(_ESCAPES, _whole, text) if "\\u" in text else text))
    try:
        json.loads(text, parse_constant=_constant, parse_float=_number, parse_int=_number)
    except ValueError:
        return None
    except RecursionError:
        pass
    hint = "put every element in double quotes"
    raise BadValue("a JSON array of arguments may hold strings only", hint)


def _whole(found: re.Match[str]) -> str:
    """An escape of half a character, which has no meaning, becomes the replacement character."""
    return "\\ufffd" if found[2] else found[0]


def _constant(name: str) -> None:
    """Python reads NaN and Infinity, which are no JSON."""
    raise ValueError(name)


def _number(text: str) -> float:
    """A number that a double can hold; the language takes no other for JSON."""
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(text)
    return value
