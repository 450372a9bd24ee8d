# SPDX-License-Identifier: Apache-2.0
"""A version for a commit: its tag, or a pseudo-version in Go's form.

Two readings of the same tags: what people call the commit (`tag_version`, `release_tag`), and what
Go itself takes (`go_tag`, `go_base`; Go Modules Reference, "Mapping versions to commits").
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

_SEMANTIC = re.compile(
    r"v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?", re.ASCII
)
# What Go takes for a version: complete, with a `v`, no leading zeros, no build metadata.
_NUMBER = r"(?:0|[1-9]\d*)"
_CANONICAL = re.compile(rf"v({_NUMBER})\.{_NUMBER}\.{_NUMBER}(?:-[0-9A-Za-z.-]+)?", re.ASCII)
_PSEUDO = re.compile(r"v\d+\..*[-.]\d{14}-[0-9a-f]{12}(?:\+.*)?", re.ASCII)
_PATH_MAJOR = re.compile(r"(?:.*/(v(?:[2-9]|[1-9]\d+))|gopkg\.in/.*\.(v\d+))", re.ASCII)
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
        if highest := _highest(candidates):
            return highest
    return ""


def path_major(module_path: str) -> str:
    """The major version that a module's path ends with, `v2`; empty where it names none."""
    match = _PATH_MAJOR.fullmatch(module_path)
    return match[1] or match[2] if match else ""


def go_tag(tags: Iterable[str], prefix: str, major: str) -> str:
    """The tag that Go takes for the version of a commit with `tags`, or the empty string.

    `prefix` is the module's directory as `api/`, `major` what its path ends with, as `v2`.
    """
    named = (name.removeprefix(prefix) for name in tags if name.startswith(prefix))
    return _highest(name for name in named if _is_go_version(name, major))


def go_base(tags: Iterable[str], prefix: str, major: str) -> str:
    """The release that Go's pseudo-version stands on, among the `tags` of a commit's history."""
    # Here build metadata does no harm, and does not count.
    named = (
        name.removeprefix(prefix).partition("+")[0] for name in tags if name.startswith(prefix)
    )
    return _highest(name for name in named if _is_go_version(name, major))


def pseudo_version(when: datetime, revision: str, base: str = "", major: str = "") -> str:
    """Go's version for a commit that no tag names (Go Modules Reference, "Pseudo-versions").

    `v0.0.0-20260102030405-0123456789ab`; after a release `base` v1.2.3 `v1.2.4-0.2026…`, after the
    pre-release v1.2.3-rc.1 `v1.2.3-rc.1.0.2026…`: above the tag and below the next release. Without
    one it begins with the module's `major` version.
    """
    commit = f"{when:%Y%m%d%H%M%S}-{revision[:12]}"
    match = _SEMANTIC.fullmatch(base)
    if match is None:
        return f"{major or 'v0'}.0.0-{commit}"
    major, minor, patch, before_release = match.groups()
    if before_release:
        return f"v{major}.{minor}.{patch}-{before_release}.0.{commit}"
    return f"v{major}.{minor}.{int(patch) + 1}-0.{commit}"


def _is_go_version(name: str, major: str) -> bool:
    match = _CANONICAL.fullmatch(name)
    if match is None or _PSEUDO.fullmatch(name):
        return False
    return f"v{match[1]}" == major if major else int(match[1]) <= 1


def _highest(names: Iterable[str]) -> str:
    ranked = [(rank, name) for name in names if (rank := _rank(name)) is not None]
    return max(ranked)[1] if ranked else ""


def _rank(name: str) -> _Rank | None:
    match = _SEMANTIC.fullmatch(name)
    if match is None:
        return None
    numbers = (int(match[1]), int(match[2]), int(match[3]))
    parts = match[4].split(".") if match[4] else []
    return numbers, not parts, tuple(_part(part) for part in parts)


def _part(text: str) -> _Part:
    return (0, int(text), "") if text.isdigit() else (1, 0, text)
