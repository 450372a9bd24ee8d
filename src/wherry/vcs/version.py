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
    # A tag with a slash belongs to another module of the repository.
    plain = [name for name in names if "/" not in name]
    return release_tag(names, prefix) or (plain[-1] if plain else "")


def release_tag(tags: Iterable[str], prefix: str) -> str:
    """The highest semantic version among `tags`, as `tag_version` ranks them, or nothing."""
    names = sorted(tags)
    own = [name.removeprefix(prefix) for name in names if prefix and name.startswith(prefix)]
    for candidates in (own, names):
        ranked = [(rank, name) for name in candidates if (rank := _rank(name)) is not None]
        if ranked:
            return max(ranked)[1]
    return ""


def pseudo_version(when: datetime, revision: str, base: str = "") -> str:
    """Go's version for a commit that no tag names (Go Modules Reference, "Pseudo-versions").

    `v0.0.0-20260102030405-0123456789ab`; after a release `base` v1.2.3 `v1.2.4-0.2026…`, after the
    pre-release v1.2.3-rc.1 `v1.2.3-rc.1.0.2026…`: above the tag and below the next release.
    """
    commit = f"{when:%Y%m%d%H%M%S}-{revision[:12]}"
    match = _SEMANTIC.fullmatch(base)
    if match is None:
        return f"v0.0.0-{commit}"
    major, minor, patch, before_release = match.groups()
    if before_release:
        return f"v{major}.{minor}.{patch}-{before_release}.0.{commit}"
    return f"v{major}.{minor}.{int(patch) + 1}-0.{commit}"


def _rank(name: str) -> _Rank | None:
    match = _SEMANTIC.fullmatch(name)
    if match is None:
        return None
    numbers = (int(match[1]), int(match[2]), int(match[3]))
    parts = match[4].split(".") if match[4] else []
    return numbers, not parts, tuple(_part(part) for part in parts)


def _part(text: str) -> _Part:
    return (0, int(text), "") if text.isdigit() else (1, 0, text)
