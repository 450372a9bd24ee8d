# SPDX-License-Identifier: Apache-2.0
"""Numbers, truth values and sizes inside instructions, by the rules of Go's strconv.

BuildKit reads them with Go's own functions, which are both stricter than Python's (no surrounding
blanks, bounds) and laxer (`t`, `F`). Every function raises `BadValue` without naming the option:
the caller knows that.
"""

from __future__ import annotations

import re

from wherry.frontends.dockerfile.refusals import BadValue

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
# Only so many digits after leading zeros can be in range (and Python refuses very long ones).
_UNSIGNED = {8: re.compile("(?=[0-7])0*([0-7]{0,11})"), 10: re.compile("(?=[0-9])0*([0-9]{0,10})")}
_SIGNED = re.compile("([+-]?)(?=[0-9])0*([0-9]{0,10})")
# A single underscore may stand between digits, here alone.
_DIGITS = "[0-9]+(?:_[0-9]+)*"
_DECIMAL = re.compile(rf"[+-]?(?:{_DIGITS}\.?(?:{_DIGITS})?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?")
# A number up to its last digit or point, one optional blank, and a unit of at most three letters.
_SIZE = re.compile(r"(.*[0-9.]) ?([^0-9. ]{0,3})", re.DOTALL)
_UNIT = re.compile("b?|[kmgtp](?:i?b)?")
_POWERS = {"k": 10, "m": 20, "g": 30, "t": 40, "p": 50}


def parse_truth(text: str) -> bool:
    """`true` or `false`, or one of Go's other spellings of them."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise BadValue(f"{text!r} is neither true nor false")


def parse_unsigned(text: str, base: int) -> int:
    """A number of 32 bits without a sign; `base` is 8 or 10."""
    found = _UNSIGNED[base].fullmatch(text)
    if found and (number := int(found[1] or "0", base)) < 1 << 32:
        return number
    kind = "an octal number" if base == 8 else "a number"
    raise BadValue(f"{text!r} is not {kind} from 0 to {'37777777777' if base == 8 else 4294967295}")


def parse_signed(text: str) -> int:
    """A decimal number of 32 bits, which may have a sign."""
    found = _SIGNED.fullmatch(text)
    if found:
        number = int(found[1] + (found[2] or "0"))
        if -(1 << 31) <= number < 1 << 31:
            return number
    raise BadValue(f"{text!r} is not a number from -2147483648 to 2147483647")


def parse_size(text: str) -> int:
    """A size in bytes: `10`, `1.5g`, `64 MiB`; k, m, g, t and p are powers of 1024."""
    found = _SIZE.fullmatch(text)
    if found and _DECIMAL.fullmatch(found[1]) and _UNIT.fullmatch(found[2].lower()):
        size = float(found[1]) * 2 ** _POWERS.get(found[2][:1].lower(), 0)
        if 0 <= size < 1 << 63:
            return int(size)
    raise BadValue(f"{text!r} is not a size", "write a size such as 64m or 1.5g")
