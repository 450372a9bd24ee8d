# SPDX-License-Identifier: Apache-2.0
"""How absolute, normal paths lie to one another."""

from __future__ import annotations

import posixpath
from typing import Final

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What a container gets for PATH where its image says nothing."""


def normal(path: str) -> str:
    """An absolute path without dots and doubled slashes, whatever it begins with."""
    # POSIX lets two slashes at the beginning mean something; in an image they do not.
    return posixpath.normpath(f"/{path.lstrip('/')}")


def is_below(path: str, directory: str) -> bool:
    """Whether a path is inside a directory, however deep."""
    return path != directory and path.startswith(directory.rstrip("/") + "/")


def is_within(path: str, directory: str) -> bool:
    """Whether a path is the directory or lies in it."""
    return path == directory or is_below(path, directory)


def meets(one: str, other: str) -> bool:
    """Whether one of two paths is the other, or holds it."""
    first, second = f"{one.rstrip('/')}/", f"{other.rstrip('/')}/"
    return first.startswith(second) or second.startswith(first)
