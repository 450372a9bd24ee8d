# SPDX-License-Identifier: Apache-2.0
"""TOML text (TOML 1.0.0) as tomllib reads it, bounded, and its complaints in words for people.

A repository may be somebody else's: its files of settings cost little whatever is in them. Loaded
only where a file exists: tomllib is not for builds that have none.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

from wherry.errors import UsageError

_PLACE: Final = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")
# tomllib takes quadratic time over the parts of a dotted key; no key of ours has more than four.
_MOST_PARTS: Final = 64
_PART: Final = r"""(?:"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)"""
_TOO_DEEP: Final = re.compile(
    rf"(?:^|[\[{{,])[ \t]*(?:{_PART}[ \t]*\.[ \t]*){{{_MOST_PARTS}}}", re.MULTILINE
)
_KEY: Final = re.compile(r"[ \t]*([A-Za-z0-9_.-]{1,100})[ \t]*=")
# Python refuses to read longer numbers (sys.int_info).
_TOO_LONG: Final = re.compile(r"[0-9_]{4300}")
# What tomllib says of a key or table that stands twice, and how it names that.
_TWICE: Final = re.compile(r"Cannot (?:declare|overwrite|mutate|redefine)|Duplicate ")
_QUOTED: Final = re.compile(r"'([^']*)'")


def read_toml(text: str, shown: str) -> dict[str, Any]:
    """The tables of `text`; `shown` is what errors call the file.

    Raises `UsageError` with a line for what is no TOML, or more of it than anybody writes.
    """
    if deep := _TOO_DEEP.search(text):
        raise _too_deep(f"{shown}:{_line(text, deep.start())}")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(str(error), text, shown) from error
    except RecursionError:
        raise _too_deep(shown) from None
    except ValueError as error:
        number = _TOO_LONG.search(text)
        where = f"{shown}:{_line(text, number.start())}" if number else shown
        raise UsageError("a number without end", hint="no key needs more than ten digits",
                         where=where) from error  # fmt: skip


def _too_deep(where: str) -> UsageError:
    what = "lists or tables in one another without end"
    return UsageError(what, hint="no key needs more than three", where=where)


def _key_in(text: str, line: str) -> str:
    """The key of the line with this number, where one begins there."""
    lines = text.split("\n")
    key = _KEY.match(lines[int(line) - 1]) if int(line) <= len(lines) else None
    return key[1] if key else ""


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _syntax_error(message: str, text: str, shown: str) -> UsageError:
    place = _PLACE.search(message)
    line, column = (place[1], place[2]) if place and place[1] else ("", "")
    line = line or str(max(len(text.splitlines()), 1))
    why = _PLACE.sub("", message)
    what, hint = "not valid TOML", "mend the line; strings need quotes"
    if _TWICE.match(why):
        what = f"{'.'.join(_QUOTED.findall(why)) or _key_in(text, line) or 'a key'} stands twice"
        hint = "leave one of the two out, or put what they say together"
    where = ":".join(part for part in (shown, line, column) if part)
    return UsageError(what, why=why, where=where, hint=hint)
