# SPDX-License-Identifier: Apache-2.0
"""What counts of a file in an image besides its content: can it be executed, where does it lead.

On the fast path: only os and stat.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping

_EXECUTE = 0o100


def first_turned(marks: Mapping[str, str], leads: Mapping[str, str]) -> str:
    """What is no longer as `mark_of` and `real_path` said, for people; empty where all holds."""
    for path, before in marks.items():
        if mark_of(path) != before:
            return f"changed: {path}"
    for path, before in leads.items():
        if real_path(path) != before:
            return f"it leads elsewhere: {path}"
    return ""


def mark_of(path: str) -> str:
    """`mark` of the file at `path`, or `@TARGET` for a link; empty for nothing."""
    try:
        mode = os.lstat(path).st_mode
        return f"@{os.readlink(path)}" if stat.S_ISLNK(mode) else mark(mode)
    except OSError:
        return ""


def mark(mode: int) -> str:
    """`x` for a file that its owner may execute, `f` for another file, `!` for anything else."""
    if not stat.S_ISREG(mode):
        return "!"
    return "x" if mode & _EXECUTE else "f"


def real_path(path: str) -> str:
    """Where a path leads with all links followed; empty for nothing."""
    try:
        return os.path.realpath(path, strict=True)
    except OSError:
        return ""


def names_text(names: Iterable[tuple[str, int]]) -> str:
    """What `wherry.golang.listing.all_names` says of a directory that holds these.

    `names` come with modes, file types included.
    """
    return "\0".join(sorted(name + _kind(mode) for name, mode in names))


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return ""
    if stat.S_ISDIR(mode):
        return "/"
    return "@" if stat.S_ISLNK(mode) else "!"
