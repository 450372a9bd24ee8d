# SPDX-License-Identifier: Apache-2.0
"""A root that is being changed: what it stands on, and what was put over that.

Paths are relative and normal, and no link on the way to them is followed here: callers resolve
them first. What was put in is kept apart from the root below, so that the change alone becomes a
layer. Names of one file share an inode number of this root's own, whose `File` says what they all
have; which of them is the file in the layer, and which are the hard links, is decided at the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, assert_never

from wherry.errors import UsageError
from wherry.fstree.files import Files
from wherry.fstree.owners import UNCHANGED
from wherry.fstree.tree import (
    Directory,
    Entry,
    File,
    HardLink,
    Special,
    Symlink,
    Xattrs,
)
from wherry.oci.digest import Digest

Owner = tuple[int, int]

# The one attribute that BuildKit's differ puts into layers.
_KEPT_ATTRIBUTE: Final = "security.capability"
_SET_GROUP_ID: Final = 0o2000
_ROOT: Final = Directory("")


class ChangedRoot:
    """The root `below` and the changes made to it; itself a `Files`."""

    def __init__(self, below: Files) -> None:
        self._below = below
        self._over: dict[str, Entry] = {}
        # Paths of `below` that are gone with all they held.
        self._gone: set[str] = set()
        # What the names with the same inode are, as of now.
        self._shared: dict[int, File] = {}
        self._linked: set[int] = set()
        self._numbers = itertools.count(1)
        # Which names were put into each directory; made once something is to be removed.
        self._held: dict[str, set[str]] | None = None

    def entry(self, path: str) -> Entry | None:
        """What lies at `path` now. The mode of a file with several names may be out of date."""
        found = self._over.get(path)
        if found is None and not (self._gone and self._is_gone(path)):
            found = self._below.entry(path)
        return found if path or found is not None else _ROOT

    def names(self, path: str) -> tuple[str, ...]:
        """The names in a directory, sorted."""
        names = set() if self._gone and self._is_gone(path) else set(self._below.names(path))
        names |= self._index().get(path, set())
        prefix = f"{path}/" if path else ""
        return tuple(sorted(name for name in names if self.entry(prefix + name) is not None))

    def digest(self, file: File) -> Digest:
        """The digest of a file's content."""
        return file.content.digest if file.path in self._over else self._below.digest(file)

    def is_new(self, path: str) -> bool:
        """Whether what lies at `path` was put there."""
        return path in self._over

    def put(self, entry: Entry) -> None:
        """Set what lies at the entry's path; a directory there must not be replaced by it."""
        self._over[entry.path] = entry
        if self._held is not None:
            self._hold(entry.path)

    def put_shared(self, file: File) -> int:
        """Put a file that may get further names; gives the inode number for `put_name`."""
        number = next(self._numbers)
        self._shared[number] = file
        self.put(_renamed(file, file.path, number))
        return number

    def put_name(self, path: str, inode: int) -> None:
        """Make `path` a further name of a file."""
        self.put(_renamed(self._shared[inode], path, inode))

    def inode_of(self, file: File) -> int:
        """The inode number of a file of this root, which may be one of the root below so far."""
        present = self._over.get(file.path)
        if isinstance(present, File) and present.inode:
            return present.inode
        number = self.put_shared(replace(file, xattrs=layer_xattrs(file.xattrs)))
        # Not changed itself, it has to be in the layer for the link to it.
        self._linked.add(number)
        return number

    def make_directories(
        self, path: str, mode: int, owner: Owner | None, mtime: int | None
    ) -> None:
        """Make the directory `path` and those it lies in, where they are missing.

        One that is there stays as it is; below one with the set-group-id bit they take that bit and
        its group, as from a kernel. Raises `UsageError` where something else is in the way.
        """
        missing: list[str] = []
        while path and (found := self.entry(path)) is None:
            missing.append(path)
            path = path.rpartition("/")[0]
        if path and found is not None and not isinstance(found, Directory):
            raise UsageError(
                f"cannot make the directory /{missing[0] if missing else path}",
                why=f"/{path} is {described(found)}",
                hint="name another destination, or one without a slash at its end",
            )
        for made in reversed(missing):
            self.put(_made(made, self.entry(made.rpartition("/")[0]), mode, owner, mtime))

    def remove(self, path: str) -> None:
        """Remove what lies at `path`, a directory with all it holds."""
        for removed in tuple(self._below_over(path)):
            del self._over[removed]
        parent, _, name = path.rpartition("/")
        self._index().get(parent, set()).discard(name)
        if not self._is_gone(path) and self._below.entry(path) is not None:
            self._gone.add(path)

    def changes(self) -> tuple[Entry, ...]:
        """All that is not as it was below, with the directories it lies in; unsorted.

        A file with several names is a `File` under the one that sorts first and a `HardLink` under
        the others, as a tree has it. What was replaced by its like is no change, as for BuildKit's
        differ (which looks at time and size, where here the content has to be the same as well).
        """
        entries = {path: entry for path, entry in self._over.items() if not self._is_same(entry)}
        for path in tuple(entries):
            while path := path.rpartition("/")[0]:
                if path in entries:
                    break
                entries[path] = self._directory(path)
        if self._shared:
            _name_links(entries, self._shared)
        return tuple(entries.values())

    def whiteouts(self) -> tuple[str, ...]:
        """Paths of the root below that are gone, and have nothing in their place; sorted.

        Their directories may be new ones in `changes`, which stand in the place of older ones.
        """
        found: list[str] = []
        pending = list(self._gone)
        while pending:
            path = pending.pop()
            present = self._over.get(path)
            if present is None:
                found.append(path)
            elif isinstance(present, Directory) and isinstance(self._below.entry(path), Directory):
                # A directory on top of a directory would show what that held.
                pending += [f"{path}/{name}" for name in self._below.names(path)]
        return tuple(sorted(found))

    def _is_same(self, entry: Entry) -> bool:
        if isinstance(entry, File) and entry.inode:
            if entry.inode in self._linked:
                return False
            entry = _renamed(self._shared[entry.inode], entry.path, 0)
        old = self._below.entry(entry.path)
        if old is None or (self._gone and self._is_gone(entry.path)):
            return False
        if not isinstance(entry, File) or not isinstance(old, File):
            return old == entry
        # A digest may have to be read: the rest comes first.
        facts, old_facts = ((*_facts(file), file.content.size) for file in (entry, old))
        return facts == old_facts and self._below.digest(old) == entry.content.digest

    def _directory(self, path: str) -> Directory:
        found = self.entry(path)
        return replace(found, path=path) if isinstance(found, Directory) else Directory(path)

    def _is_gone(self, path: str) -> bool:
        while path:
            if path in self._gone:
                return True
            path = path.rpartition("/")[0]
        return False

    def _index(self) -> dict[str, set[str]]:
        if self._held is None:
            self._held = {}
            for path in self._over:
                self._hold(path)
        return self._held

    def _hold(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        if self._held is not None:
            self._held.setdefault(parent, set()).add(name)

    def _below_over(self, path: str) -> Iterator[str]:
        """`path` and what lies below it, as far as it was put in."""
        pending = [path]
        index = self._index()
        while pending:
            at = pending.pop()
            pending += [f"{at}/{name}" for name in index.pop(at, ())]
            if at in self._over:
                yield at


def described(entry: Entry) -> str:
    """What an entry is, in words."""
    match entry:
        case Directory():
            return "a directory"
        case File() | HardLink():
            return "a file"
        case Symlink():
            return f"a link to {entry.target}"
        case Special(kind="fifo"):
            return "a named pipe"
        case Special():
            return "a device"
        case _:
            assert_never(entry)


def new_owner(owner: Owner | None) -> Owner:
    """The owner of what is made anew: root unless said otherwise."""
    if owner is None:
        return 0, 0
    return tuple(0 if number == UNCHANGED else number for number in owner)  # type: ignore[return-value] # two of them


def layer_xattrs(xattrs: Xattrs) -> Xattrs:
    """The attributes that get into a layer."""
    return tuple(pair for pair in xattrs if pair[0] == _KEPT_ATTRIBUTE) if xattrs else ()


def _made(
    path: str, parent: Entry | None, mode: int, owner: Owner | None, mtime: int | None
) -> Directory:
    uid, gid = owner or (0, UNCHANGED)
    inherits = isinstance(parent, Directory) and parent.mode & _SET_GROUP_ID
    if gid == UNCHANGED:
        gid = parent.gid if inherits and isinstance(parent, Directory) else 0
    mode |= _SET_GROUP_ID if inherits else 0
    return Directory(path, mode, 0 if uid == UNCHANGED else uid, gid, (), mtime)


def _facts(file: File) -> tuple[object, ...]:
    return file.mode, file.uid, file.gid, layer_xattrs(file.xattrs), file.mtime


def _renamed(file: File, path: str, inode: int) -> File:
    """`dataclasses.replace` takes five times as long."""
    facts = file.mode, file.uid, file.gid, file.xattrs, file.mtime
    return File(path, file.content, *facts, inode)


def _name_links(entries: dict[str, Entry], shared: dict[int, File]) -> None:
    groups: dict[int, list[str]] = {}
    for path, entry in entries.items():
        if isinstance(entry, File) and entry.inode in shared:
            groups.setdefault(entry.inode, []).append(path)
    for inode, paths in groups.items():
        first, *others = sorted(paths, key=lambda path: path.split("/"))
        entries[first] = _renamed(shared[inode], first, 0)
        for path in others:
            entries[path] = HardLink(path, first)
