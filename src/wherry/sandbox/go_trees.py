# SPDX-License-Identifier: Apache-2.0
"""Whether Go's own tree in a root is as one slab brought it.

Go's keys of the standard library's assembler packages do not know the headers that they include
(`wherry.golang.build_archive`), so that a tree in which a step has changed anything is another Go.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from wherry.sandbox.go_shadows import Shadows
from wherry.sandbox.rootpath import resolve

# What Debian's packages keep elsewhere, behind links.
_PARTS = ("", "/src", "/pkg")


def settled(root: str, tops: Sequence[str], goroots: Iterable[str]) -> tuple[str, ...]:
    """Those of Go's trees in `root` all of whose files are of one of its trees `tops`.

    The lowest comes first. Raises `OSError`.
    """
    return tuple(
        goroot
        for goroot in goroots
        if all(_is_of_one_piece(tops, path) for path in _places(root, goroot))
    )


def is_tree_of_go(root: str, path: str) -> bool:
    """Whether a root has a Go there, and not only a program of that name."""
    return os.path.lexists(f"{root}{path}/VERSION")


def _places(root: str, goroot: str) -> Iterator[str]:
    """Where the files of a tree really are."""
    for part in _PARTS:
        # A link in a circle leads to nothing.
        with suppress(OSError):
            yield resolve(root, goroot + part).removeprefix(root)


def _is_of_one_piece(tops: Sequence[str], path: str) -> bool:
    pieces = 0
    for top in reversed(tops):
        pieces += _pieces(top, path)
        if Shadows((top,), path).hide_all:
            break
    return pieces <= 1


def _pieces(top: str, path: str) -> int:
    """One where a tree has anything but directories in a directory, two for another thing there.

    No link is followed: it would lead out of the root.
    """
    here = top
    for part in path.strip("/").split("/"):
        here = f"{here}/{part}"
        try:
            mode = os.lstat(here).st_mode
        except FileNotFoundError:
            return 0
        if not stat.S_ISDIR(mode):
            # What was removed is absent; what is in its place now is another Go.
            return 0 if stat.S_ISCHR(mode) else 2
    return any(
        files or any(os.path.islink(f"{directory}/{name}") for name in names)
        for directory, names, files in os.walk(here)
    )
