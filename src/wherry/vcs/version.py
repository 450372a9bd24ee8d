# SPDX-License-Identifier: Apache-2.0
"""A version for a commit: its tag, or a pseudo-version in Go's form."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

_SEMANTIC = re.compile(
    r"v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?", re.ASCII
)
# A part of a pre-release: numbers sort below words.
_Part = tuple[int, int, str]
# A version without pre-release sorts above those with one.
_Rank = tuple[tuple[int, int, int], bool, tuple[_Part, ...]]


def tag_version(tags: Iterable[str], prefix: str) -> str:
    """The best of a commit's tags, or the empty string.

    A module in the subdirectory `prefix` (`api/`) is tagged `api/v1.2.3`, as Go has it; that tag
    goes first, without the prefix. Then semantic versions, the highest first, then other tags.
    """
    names = sorted(tags)
    own = [name.removeprefix(prefix) for name in names if prefix and name.startswith(prefix)]
    for candidates in (own, names):
        ranked = [(rank, name) for name in candidates if (rank := _rank(name)) is not None]
        if ranked:
            return max(ranked)[1]
    # A tag with a slash belongs to another module of the repository.
    plain = [name for name in names if "/" not in name]
    return plain[-1] if plain else ""


def pseudo_version(when: datetime, revision: str) -> str:
    """`v0.0.0-20260102030405-0123456789ab`: Go's form for a commit that no tag names."""
    return f"v0.0.0-{when:%Y%m%d%H%M%S}-{revision[:12]}"


def _rank(name: str) -> _Rank | None:
    match = _SEMANTIC.fullmatch(name)
    if match is None:
        return None
    numbers = (int(match[1]), int(match[2]), int(match[3]))
    parts = match[4].split(".") if match[4] else []
    return numbers, not parts, tuple(_part(part) for part in parts)


def _part(text: str) -> _Part:
    return (0, int(text), "") if text.isdigit() else (1, 0, text)
