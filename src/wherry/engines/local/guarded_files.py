# SPDX-License-Identifier: Apache-2.0
"""The files of a root whose Go caches were left outside: whoever looks for them is told.

The Dockerfile says which paths are copied from a stage and to it, and a stage that has one of its
caches copied is given none. But links may lead there, and only the root knows them.
"""

from __future__ import annotations

from collections.abc import Iterable

from wherry.errors import BuildError
from wherry.fstree.files import Files
from wherry.fstree.tree import Entry, File
from wherry.oci.digest import Digest


class HiddenCache(BuildError):
    """A path leads to a Go cache that is not in the root: its steps have to run without."""


class GuardedFiles:
    """Files with directories, by absolute paths, that nobody may look into, or search from above.

    Implements `wherry.fstree.files.Files`; raises `HiddenCache`.
    """

    def __init__(self, files: Files, outside: Iterable[str]) -> None:
        self._files = files
        self._outside = tuple(path.strip("/") for path in outside)

    def entry(self, path: str) -> Entry | None:
        """As `Files.entry`."""
        for hidden in self._outside:
            if path == hidden or path.startswith(f"{hidden}/"):
                raise _hidden(path)
        found = self._files.entry(path)
        # The steps saw a directory there: it came with the cache.
        if path and found is None and any(at.startswith(f"{path}/") for at in self._outside):
            raise _hidden(path)
        return found

    def names(self, path: str) -> tuple[str, ...]:
        """As `Files.names`."""
        above = f"{path}/" if path else ""
        for hidden in self._outside:
            if path == hidden or path.startswith(f"{hidden}/") or hidden.startswith(above):
                raise _hidden(path)
        return self._files.names(path)

    def digest(self, file: File) -> Digest:
        """As `Files.digest`."""
        return self._files.digest(file)


def _hidden(path: str) -> HiddenCache:
    return HiddenCache(
        f"/{path} of a stage leads to Go caches that are not in it", hint="use --go-cache=off"
    )
