# SPDX-License-Identifier: Apache-2.0
"""A file tree in memory, for tests of what is done with trees."""

from __future__ import annotations

from collections.abc import Iterable

from wherry.fstree.tree import Directory, Entry, File, Inline, Symlink
from wherry.oci.digest import Digest


class MemoryFiles:
    """`Files` made of entries; directories that are missing between them are made (0755, root)."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries: dict[str, Entry] = {"": Directory("")}
        self._names: dict[str, list[str]] = {"": []}
        for entry in sorted(entries, key=lambda entry: entry.path.count("/")):
            self._add(entry)

    def _add(self, entry: Entry) -> None:
        parent, _, name = entry.path.rpartition("/")
        if parent not in self.entries:
            self._add(Directory(parent))
        if entry.path not in self.entries:
            self._names[parent].append(name)
        self.entries[entry.path] = entry
        if isinstance(entry, Directory):
            self._names.setdefault(entry.path, [])

    def entry(self, path: str) -> Entry | None:
        return self.entries.get(path)

    def names(self, path: str) -> tuple[str, ...]:
        return tuple(sorted(self._names.get(path, ())))

    def digest(self, file: File) -> Digest:
        return file.content.digest


def file(path: str, data: str | bytes = b"", mode: int = 0o644, **facts: object) -> File:
    """A file with `data`; `facts` are fields of `File`."""
    content = Inline(data.encode() if isinstance(data, str) else data)
    return File(path, content, mode, **facts)  # type: ignore[arg-type] # the tests name fields


def directory(path: str, mode: int = 0o755, **facts: object) -> Directory:
    """A directory; `facts` are fields of `Directory`."""
    return Directory(path, mode, **facts)  # type: ignore[arg-type] # the tests name fields


def link(path: str, target: str, **facts: object) -> Symlink:
    """A symbolic link; `facts` are fields of `Symlink`."""
    return Symlink(path, target, **facts)  # type: ignore[arg-type] # the tests name fields


def tree(*entries: Entry | str) -> MemoryFiles:
    """A tree; a text is a file that holds its own path, or with a slash at its end a directory."""
    found: list[Entry] = []
    for entry in entries:
        if not isinstance(entry, str):
            found.append(entry)
        elif entry.endswith("/"):
            found.append(directory(entry.rstrip("/")))
        else:
            found.append(file(entry, entry))
    return MemoryFiles(found)
