# SPDX-License-Identifier: Apache-2.0
"""The user's own files, named relative to the main module, and nothing outside their repository.

Names may come from a foreign record: they are plain text until `Enclosure.place` has found that
they lead to a place in the repository, through symbolic links too. A repository is what holds
`.git`, or the go.work around it; without either it is the module. Reading is bounded: regular files
only, and so many bytes in all.
"""

from __future__ import annotations

import hashlib
import os
import stat

# Beyond any repository that a build could read in a moment.
_READ_LIMIT = 1 << 30
_CHUNK = 1 << 20
DIRECTORY = "/"
"""What stands for the digest of a directory, where a name was listed as a file's."""


class OutsideError(Exception):
    """A name leads out of the repository, or is none."""


class Enclosure:
    """The repository around the module at `root` (absolute, with a go.mod)."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.top = _top(root)
        self._real_top = os.path.realpath(self.top)
        self._depth = 0 if self.top == root else os.path.relpath(root, self.top).count("/") + 1
        self._inside: dict[str, bool] = {}
        self._left = _READ_LIMIT

    def relative(self, path: str) -> str:
        """The name of an absolute path; raises `OutsideError` where it is not in the repository."""
        if not os.path.isabs(path) or os.path.normpath(path) != path:
            raise OutsideError(path)
        name = os.path.relpath(path, self.root)
        self.place(name)
        return name

    def place(self, name: str) -> str:
        """The absolute path of a name; raises `OutsideError` for every name that is not one."""
        self._check(name)
        path = os.path.normpath(os.path.join(self.root, name))
        if path == self.top:
            return path
        if not self._holds(os.path.dirname(path)):
            raise OutsideError(name)
        if os.path.islink(path) and not self._holds(path):
            raise OutsideError(name)
        return path

    def real_relative(self, path: str) -> str:
        """As `relative`, of a path without links, seen from where the module really lies."""
        if path != self._real_top and not path.startswith(f"{self._real_top.rstrip('/')}/"):
            raise OutsideError(path)
        return os.path.relpath(path, os.path.realpath(self.root))

    def real_place(self, name: str) -> str:
        """What `real_relative` gave the name of; raises `OutsideError`."""
        self._check(name)
        return os.path.normpath(os.path.join(os.path.realpath(self.root), name))

    def digest(self, name: str) -> str:
        """sha256 of a file's content as hex, `DIRECTORY` for a directory.

        Empty for anything else, and for what cannot be read. Raises `OutsideError`, also where too
        much was read already.
        """
        path = self.place(name)
        try:
            mode = os.stat(path).st_mode
            if stat.S_ISDIR(mode):
                return DIRECTORY
            if not stat.S_ISREG(mode):
                return ""
            return self._hashed(path)
        except OSError:
            return ""

    def _check(self, name: str) -> None:
        """Raise where a name has another form than `relative` gives it."""
        if not name or "\0" in name or os.path.isabs(name) or os.path.normpath(name) != name:
            raise OutsideError(name)
        above = 0
        for part in name.split("/"):
            if part != "..":
                break
            above += 1
        if above > self._depth:
            raise OutsideError(name)
        # A name that goes up and then down beside the module may pass through it again: harmless.
        try:
            os.fsencode(name)
        except UnicodeEncodeError as error:
            raise OutsideError(name) from error

    def _hashed(self, path: str) -> str:
        hasher = hashlib.sha256()
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            while data := os.read(descriptor, _CHUNK):
                self._left -= len(data)
                if self._left < 0:
                    raise OutsideError(path)
                hasher.update(data)
        finally:
            os.close(descriptor)
        return hasher.hexdigest()

    def _holds(self, path: str) -> bool:
        """Whether a path leads into the repository, with all links followed."""
        known = self._inside.get(path)
        if known is None:
            real = os.path.realpath(path)
            top = self._real_top.rstrip("/")
            known = self._inside[path] = real == self._real_top or real.startswith(f"{top}/")
        return known


def _top(root: str) -> str:
    """What holds the module at `root`: the nearest `.git`, or the nearest go.work above that."""
    tops = [root]
    for name in (".git", "go.work"):
        path = root
        while not os.path.lexists(os.path.join(path, name)):
            path = os.path.dirname(path)
            if path == os.path.dirname(path):
                path = root
                break
        tops.append(path)
    return min(tops, key=len)
