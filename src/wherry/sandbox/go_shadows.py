# SPDX-License-Identifier: Apache-2.0
"""What the snapshots of a root hide of a Go cache, which lies below all of them.

Where one of them has removed a directory, or has made it anew, nothing that is below it is seen any
more; a file hides the one of the same name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

# Overlay's own, as root has them and as others do.
OPAQUE: Final = ("trusted.overlay.opaque", "user.overlay.opaque")


class _Found(Enum):
    NOTHING = auto()
    DIRECTORY = auto()
    HIDING = auto()


class Shadows:
    """The trees `tops` of snapshots, as seen from the directory `path` of a root.

    `opaque` are the names of the attribute of directories that hide what lower ones hold. Methods
    and the constructor raise `OSError`.
    """

    def __init__(self, tops: Iterable[str], path: str, opaque: tuple[str, ...] = OPAQUE) -> None:
        self._opaque = opaque
        self._known: dict[str, _Found] = {}
        found = [(f"{top}{path}", self._found(top, path.strip("/"))) for top in tops]
        self.hide_all = any(state is _Found.HIDING for _, state in found)
        self._tops = [here for here, state in found if state is _Found.DIRECTORY]

    def cover(self, name: str) -> bool:
        """Whether a file or tree of that name in the directory is not seen, or not it alone."""
        return any(self._found(top, name) is not _Found.NOTHING for top in self._tops)

    def hide(self, name: str) -> bool:
        """Whether nothing of that name in the directory can be seen."""
        return any(self._found(top, name) is _Found.HIDING for top in self._tops)

    def _found(self, top: str, name: str) -> _Found:
        here, found = top, _Found.DIRECTORY
        for part in name.split("/"):
            here = f"{here}/{part}"
            if here not in self._known:
                self._known[here] = self._look(here)
            found = self._known[here]
            if found is not _Found.DIRECTORY:
                break
        return found

    def _look(self, path: str) -> _Found:
        try:
            is_directory = stat.S_ISDIR(os.lstat(path).st_mode)
        except FileNotFoundError:
            return _Found.NOTHING
        if not is_directory or hides_lower(path, self._opaque):
            return _Found.HIDING
        return _Found.DIRECTORY


def reached(top: str, path: str) -> tuple[str, int] | None:
    """Where a tree has `path`, and its mode; or what it has on the way in a directory's place.

    None where it has neither. No link is followed. Raises `OSError`.
    """
    here, mode = top, stat.S_IFDIR
    for part in path.strip("/").split("/"):
        here = f"{here}/{part}"
        try:
            mode = os.lstat(here).st_mode
        except FileNotFoundError:
            return None
        if not stat.S_ISDIR(mode):
            break
    return here, mode


def hides_lower(path: str, attributes: tuple[str, ...] = OPAQUE) -> bool:
    """Whether a directory hides what lower ones hold, by one of these attributes."""
    return any(_has(path, name) for name in attributes)


def _has(path: str, attribute: str) -> bool:
    try:
        return os.getxattr(path, attribute, follow_symlinks=False) == b"y"
    except OSError:
        return False
