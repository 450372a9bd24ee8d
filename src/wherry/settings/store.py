# SPDX-License-Identifier: Apache-2.0
"""The table `[store]`: how large the local store may become.

A project and its user may both write it. The store is the user's, so that the user's word wins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from wherry.errors import UsageError
from wherry.settings.declaration import Kind, setting
from wherry.settings.kinds import parse_text

_SIZE = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,3}))? ?([KMGTkmgt])(i?)[Bb]?")
_LEAST = 100 * 10**6
_POWERS: Final = "kmgt"

SIZE_SCHEMA: Final = {
    "type": "string",
    "pattern": "^[0-9]{1,12}(?:\\.[0-9]{1,3})? ?[KMGTkmgt]i?[Bb]?$",
    "$comment": "at least 100MB",
}


def parse_size(value: object) -> int:
    """`20GB`, `1.5TB` or `20GiB` in bytes; without an i, units are of 1000."""
    text = parse_text(value)
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is no size", hint='write it as "20GB" or "20GiB"')
    whole, part, unit, binary = match.groups()
    factor = int((1024 if binary else 1000) ** (1 + _POWERS.index(unit.lower())))
    thousandths = int(whole) * 1000 + int((part or "").ljust(3, "0"))
    size = thousandths * factor // 1000
    if size < _LEAST:
        raise UsageError(f"{text!r} is too little for a store", hint="100MB is the least")
    return size


def size_text(size: int) -> str:
    """`size` as `parse_size` reads it, whole kilobytes down."""
    for power in range(3, -1, -1):
        for factor, unit in ((1000, "B"), (1024, "iB")):
            if size % factor ** (1 + power) == 0 and size:
                return f"{size // factor ** (1 + power)}{_POWERS[power].upper()}{unit}"
    return f"{size // 1000}KB"


SIZE = Kind("size", parse_size, '"20GB"', schema=SIZE_SCHEMA)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """What one file says about the store; None is not said. `size` is in bytes."""

    size: int | None = setting(
        SIZE,
        "The most that the store holds, such as `20GB` or `20GiB`; the default is a tenth of its "
        "file system, at least 2 GB and at most 20 GB",
    )


def merged_store(user: StoreSettings, project: StoreSettings) -> StoreSettings:
    """What holds for `project`: the user's word where there is one."""
    return project if user.size is None else user
