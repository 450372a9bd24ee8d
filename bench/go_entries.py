# SPDX-License-Identifier: Apache-2.0
"""Go's build cache, as it lies on the disk: actions, and the outputs that they name."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_LONG_AGO = 3 * 3600  # seconds: Go renews the time of what it uses when it is over an hour old
_INDEX = b"go index v"  # of a module's directory, at one place on one machine


class Action(NamedTuple):
    """An action and its output of `size` bytes; when it was `made`, and when last `used`, in ns."""

    output: str
    size: int
    made: int
    used: int


def actions(gocache: Path) -> dict[str, Action]:
    """All actions, without those of module indexes."""
    found: dict[str, Action] = {}
    for entry in gocache.glob("[0-9a-f][0-9a-f]/*-a"):
        words = entry.read_text().split()
        if len(words) == 5 and not _is_index(gocache, words[2]):
            used = entry.stat().st_mtime_ns
            found[words[1]] = Action(words[2], int(words[3]), int(words[4]), used)
    return found


def weight(some: Mapping[str, Action]) -> int:
    """The bytes of the outputs of some actions, each once."""
    return sum({action.output: action.size for action in some.values()}.values())


def age(gocache: Path) -> int:
    """Makes all actions look old, so that those used next can be told; gives the time in ns."""
    now = time.time_ns()
    old = now - _LONG_AGO * 1_000_000_000
    for entry in gocache.glob("[0-9a-f][0-9a-f]/*-a"):
        os.utime(entry, ns=(old, old))
    return now - _LONG_AGO * 500_000_000


def size_of_files(directory: Path) -> int:
    """The bytes of all files below a directory."""
    return sum(
        os.lstat(os.path.join(place, name)).st_size
        for place, _, names in os.walk(directory)
        for name in names
    )


def _is_index(gocache: Path, output: str) -> bool:
    try:
        with (gocache / output[:2] / f"{output}-d").open("rb") as file:
            return file.read(len(_INDEX)) == _INDEX
    except (FileNotFoundError, IsADirectoryError):
        return False
