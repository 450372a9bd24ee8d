# SPDX-License-Identifier: Apache-2.0
"""Durations as Go writes them (`time.ParseDuration`), for HEALTHCHECK.

A duration is a sequence of decimal numbers with a unit each, such as `1h15m` or `1.5s`, and lies
within the 292 years that 63 bits of nanoseconds hold.
"""

from __future__ import annotations

import re

from wherry.frontends.dockerfile.refusals import BadValue

# Two letters are right for "micro": the sign (U+00B5) and the Greek letter (U+03BC).
_UNITS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]*)")
_HINT = "write numbers with units, such as 30s, 1m30s or 500ms (units: ns, us, ms, s, m, h)"
_LIMIT = 1 << 63


def parse_duration(text: str) -> int:
    """Nanoseconds, negative ones too; raises `BadValue` with a hint."""
    sign, body = (text[0], text[1:]) if text[:1] in {"+", "-"} else ("", text)
    if body == "0":
        return 0
    if not body:
        raise BadValue(f"{text!r} is not a duration", _HINT)
    total = 0
    position = 0
    while position < len(body):
        part = _PART.match(body, position)
        total += _nanoseconds(text, part) if part else 0
        position = part.end() if part else len(body)
    if total > _LIMIT or (total == _LIMIT and sign != "-"):
        raise _too_long(text)
    return -total if sign == "-" else total


def _nanoseconds(text: str, part: re.Match[str]) -> int:
    whole, fraction, unit = part.groups()
    if not whole and not fraction:
        raise BadValue(f"{text!r} is not a duration", _HINT)
    if not unit:
        raise BadValue(f"the duration {text!r} has no unit", _HINT)
    if unit not in _UNITS:
        raise BadValue(f"the duration {text!r} has the unknown unit {unit!r}", _HINT)
    # Python refuses to read very long numbers, which are out of range anyway.
    if len(whole.lstrip("0")) > 19:
        raise _too_long(text)
    return int(whole or "0") * _UNITS[unit] + _part_of(_UNITS[unit], fraction or "")


def _part_of(unit: int, fraction: str) -> int:
    """Floating point, and cut off, as Go does it: with as many digits as 63 bits hold."""
    digits = fraction.lstrip("0")
    zeros = len(fraction) - len(digits)
    digits = digits[:19] if int(digits[:19] or "0") <= _LIMIT else digits[:18]
    # From here on it is below a nanosecond, and 10 to that power no floating number any more.
    if zeros > 200 or not digits:
        return 0
    return int(float(digits) * (unit / 10.0 ** (zeros + len(digits))))


def _too_long(text: str) -> BadValue:
    return BadValue(f"the duration {text!r} is longer than 292 years", _HINT)
