# SPDX-License-Identifier: Apache-2.0
"""Which names of a directory Go looks at, so that adding any other file changes nothing.

Source: `go help packages`, `go help buildconstraint`, and the file kinds that `go help list`
names. Go skips names that begin with `.` or `_`. Test files are kept: Go reads their heads, too.
On the fast path: no imports but os.
"""

from __future__ import annotations

import os

_SUFFIXES = frozenset(
    (".go", ".c", ".cc", ".cpp", ".cxx", ".m", ".h", ".hh", ".hpp", ".hxx", ".f", ".F", ".for",
     ".f90", ".s", ".S", ".sx", ".swig", ".swigcxx", ".syso")
)  # fmt: skip
_NAMES = frozenset(("go.mod", "go.sum", "go.work", "go.work.sum", "vendor", "default.pgo"))


def is_go_name(name: str) -> bool:
    """Whether Go may read a file of this name when it builds the directory's package."""
    if name in _NAMES:
        return True
    return os.path.splitext(name)[1] in _SUFFIXES and not name.startswith(("_", "."))


def go_names(directory: str) -> str:
    """The sorted names that Go looks at, joined by NUL; empty for a directory that is not there."""
    try:
        return "\0".join(sorted(filter(is_go_name, os.listdir(directory))))
    except OSError:
        return ""


def all_names(directory: str) -> str:
    """All names, sorted and joined by NUL, each with its kind behind it: for embedded trees.

    `/` is for directories, `@` for symbolic links, which Go does not embed, `!` for what is no
    file at all.
    """
    try:
        with os.scandir(directory) as entries:
            return "\0".join(sorted(entry.name + _kind(entry) for entry in entries))
    except OSError:
        return ""


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_file(follow_symlinks=False):
        return ""
    if entry.is_dir(follow_symlinks=False):
        return "/"
    return "@" if entry.is_symlink() else "!"
