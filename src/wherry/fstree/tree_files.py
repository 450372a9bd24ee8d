# SPDX-License-Identifier: Apache-2.0
"""A tree value as files that can be read, such as a composed base."""

from __future__ import annotations

from dataclasses import replace

from wherry.fstree.tree import Directory, Entry, File, HardLink, Tree
from wherry.oci.digest import Digest


class TreeFiles:
    """Implements `wherry.fstree.files.Files` for `tree`, which has no whiteouts.

    Hard links are files with content and owner of what they name; that they are names of one file
    is not said.
    """

    def __init__(self, tree: Tree) -> None:
        self._entries: dict[str, Entry] = {"": Directory("")}
        self._names: dict[str, list[str]] = {}
        for entry in tree.entries:
            parent, _, name = entry.path.rpartition("/")
            self._names.setdefault(parent, []).append(name)
            self._entries[entry.path] = self._file(entry)

    def entry(self, path: str) -> Entry | None:
        """What lies at `path`; None for nothing."""
        return self._entries.get(path)

    def names(self, path: str) -> tuple[str, ...]:
        """The names in the directory `path`, sorted."""
        return tuple(sorted(self._names.get(path, ())))

    def digest(self, file: File) -> Digest:
        """The digest of a file's content."""
        return file.content.digest

    def _file(self, entry: Entry) -> Entry:
        if not isinstance(entry, HardLink):
            return entry
        # It sorts after what it names.
        return replace(self._entries[entry.target], path=entry.path)
