# SPDX-License-Identifier: Apache-2.0
"""Mount points that a root lacks: made before a step, taken away after it.

What is mounted is no part of the result, so neither is the place where it was: what was made here
and is still empty afterwards goes, and directories around it keep their times. A change made of
nothing else is then no change. (BuildKit cleans up so too, but for the times.)
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from wherry.sandbox.rootpath import resolve


class Stubs:
    """The mount points made in one root, which nobody else changes while this works."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._made: list[str] = []

    def make(self, path: str, *, is_directory: bool, mode: int = 0o755) -> None:
        """Make the image's `path` with `mode` if it is missing, and what is missing above it.

        Raises `OSError`, as where something above it is a file.
        """
        missing: list[str] = []
        real = resolve(self._root, path)
        while not os.path.lexists(real):
            missing.append(real)
            real = os.path.dirname(real)
        for place in reversed(missing):
            if place is missing[0]:
                self._make(place, is_directory, mode)
            else:
                self._make(place, is_directory=True, mode=0o755)

    def remove(self) -> None:
        """Remove what was made and is still empty."""
        for place in reversed(self._made):
            parent = os.path.dirname(place)
            # The step may have moved directories about and put links in their places.
            inside = place.removeprefix(self._root)
            with suppress(OSError):
                if resolve(self._root, os.path.dirname(inside)) == parent:
                    _remove_empty(place, parent)
        self._made.clear()

    def _make(self, place: str, is_directory: bool, mode: int) -> None:
        parent = os.path.dirname(place)
        before = os.stat(parent)
        if is_directory:
            os.mkdir(place)
        else:
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
        self._made.append(place)
        # Whatever the umask is here.
        os.chmod(place, mode)
        os.utime(parent, ns=(before.st_atime_ns, before.st_mtime_ns))


def _remove_empty(place: str, parent: str) -> None:
    found = os.lstat(place)
    before = os.stat(parent)
    if stat.S_ISDIR(found.st_mode):
        os.rmdir(place)
    elif stat.S_ISREG(found.st_mode) and found.st_size == 0:
        os.unlink(place)
    else:
        return
    os.utime(parent, ns=(before.st_atime_ns, before.st_mtime_ns))
