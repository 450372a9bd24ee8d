# SPDX-License-Identifier: Apache-2.0
"""Values as Go's formatter prints them: the lines of an image's history are made that way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_ESCAPES: Final = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
    "\\": "\\\\", '"': '\\"',
}  # fmt: skip
_UNITS: Final = ((10**6, "ms", 6), (10**3, "µs", 3), (1, "ns", 0))


def quoted(text: str) -> str:
    """A text in double quotes, `%q`: what cannot be printed is escaped."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(map(_quoted_character, text)) + '"'


def quoted_list(texts: Iterable[str]) -> str:
    """Texts in brackets, each quoted: `%q` of a list."""
    return f"[{' '.join(map(quoted, texts))}]"


def plain_list(texts: Iterable[str]) -> str:
    """Texts in brackets as they are: `%v` of a list."""
    return f"[{' '.join(texts)}]"


def duration(nanoseconds: int) -> str:
    """A time span such as `1m30s`, `250ms` or `0s`."""
    if nanoseconds < 0:
        return "-" + duration(-nanoseconds)
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < 10**9:
        return next(
            f"{_decimal(nanoseconds, digits)}{unit}"
            for size, unit, digits in _UNITS
            if nanoseconds >= size
        )
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    text = f"{_decimal(rest, 9)}s"
    if minutes:
        text = f"{minutes % 60}m{text}"
    return f"{minutes // 60}h{text}" if minutes >= 60 else text


def _decimal(value: int, digits: int) -> str:
    """`value` divided by ten to the power of `digits`, without trailing zeros."""
    whole, part = divmod(value, 10**digits)
    fraction = f"{part:0{digits}d}".rstrip("0") if part else ""
    return f"{whole}.{fraction}" if fraction else str(whole)


def _quoted_character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        # A byte of the file that is no UTF-8.
        return f"\\x{code - 0xDC00:02x}"
    # Of all spaces Go prints the plain one only, as Python does.
    if character.isprintable():
        return character
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
