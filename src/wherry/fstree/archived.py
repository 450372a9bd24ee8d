# SPDX-License-Identifier: Apache-2.0
"""What an archive that ADD unpacks does to a root: its entries, in order, below one directory.

The rules are those of Docker's unpacking, which BuildKit uses. The directory is the root of all
links that are met there, those of the archive and those that were there before. An entry replaces
what lies in its place, whatever that is, and only directories merge, which then take the entry's
mode and owner. Directories that the archive does not name are made (0755, root) where they are
missing. Excludes and modes of the instruction do not count; its owner does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from wherry.errors import UsageError
from wherry.fstree.changed import ChangedRoot, Owner, described, layer_xattrs, new_owner
from wherry.fstree.files import Files
from wherry.fstree.resolve import resolve
from wherry.fstree.tree import Directory, Entry, File, HardLink, Special, Symlink
from wherry.oci.digest import Digest


def unpack(root: ChangedRoot, place: str, entries: Iterable[Entry], owner: Owner | None) -> None:
    """Put `entries` below the directory `place`, which is there and has no link on its way.

    Their paths are normal, the root's is empty; a `HardLink` names an earlier entry or something
    that is below `place` already. Raises `UsageError` for what cannot be put there.
    """
    unpacking = _Unpacking(root, place, owner)
    for entry in entries:
        # The archive's own root says nothing about a directory that is there.
        if entry.path:
            unpacking.add(entry)


class _Jail(Files):
    """The directory `place` of a root, as the root that links are followed in."""

    def __init__(self, root: ChangedRoot, place: str) -> None:
        self._root = root
        self._prefix = f"{place}/" if place else ""
        self._place = place

    def full(self, path: str) -> str:
        return self._prefix + path if path else self._place

    def entry(self, path: str) -> Entry | None:
        return self._root.entry(self.full(path))

    def names(self, path: str) -> tuple[str, ...]:
        return self._root.names(self.full(path))

    def digest(self, file: File) -> Digest:
        return self._root.digest(file)


class _Unpacking:
    def __init__(self, root: ChangedRoot, place: str, owner: Owner | None) -> None:
        self._root = root
        self._jail = _Jail(root, place)
        self._owner = None if owner is None else new_owner(owner)
        # The directory of the last entry, as it is named and where it is: mostly the next one's.
        self._last: tuple[str, str] | None = None

    def add(self, entry: Entry) -> None:
        parent, _, name = entry.path.rpartition("/")
        directory = self._directory(parent)
        path = self._jail.full(f"{directory}/{name}" if directory else name)
        present = self._root.entry(path)
        merges = isinstance(entry, Directory) and isinstance(present, Directory)
        if isinstance(present, Directory) and not merges:
            self._root.remove(path)
        if not isinstance(entry, File):
            self._last = None
        if isinstance(entry, HardLink):
            self._link(entry, path)
            return
        uid, gid = self._owner or (entry.uid, entry.gid)
        if isinstance(entry, Special):
            self._root.put(replace(entry, path=path, uid=uid, gid=gid))
            return
        xattrs = layer_xattrs(entry.xattrs)
        if isinstance(present, Directory) and merges:
            xattrs = xattrs or layer_xattrs(present.xattrs)
        moved = replace(entry, path=path, uid=uid, gid=gid, xattrs=xattrs)
        self._root.put(replace(moved, inode=0) if isinstance(moved, File) else moved)

    def _directory(self, path: str) -> str:
        """Where the directory `path` is, which is made if it is missing."""
        if not path:
            return ""
        if self._last and self._last[0] == path:
            return self._last[1]
        if self._jail.entry(resolve(self._jail, path, last=False)) is None:
            self._make(path)
        found = resolve(self._jail, path)
        entry = self._jail.entry(found)
        if not isinstance(entry, Directory):
            raise self._not_in(path, found, entry)
        self._last = path, found
        return found

    def _make(self, path: str) -> None:
        at = ""
        for part in path.split("/"):
            at = f"{at}/{part}" if at else part
            present = self._jail.entry(at)
            if present is None:
                self._root.make_directories(self._jail.full(at), 0o755, (0, 0), None)
                continue
            if isinstance(present, Symlink):
                at = resolve(self._jail, at)
                present = self._jail.entry(at)
            if not isinstance(present, Directory):
                raise self._not_in(path, at, present)

    def _not_in(self, path: str, at: str, present: Entry | None) -> UsageError:
        why = "is not there" if present is None else f"is {described(present)}"
        return UsageError(
            f"the archive has an entry in /{path}", why=f"/{self._jail.full(at)} {why}"
        )

    def _link(self, entry: HardLink, path: str) -> None:
        target = self._jail.full(resolve(self._jail, entry.target, last=False))
        found = self._root.entry(target)
        match found:
            case File() if target != path:
                self._root.put_name(path, self._root.inode_of(found))
            case Symlink() | Special() if target != path:
                self._root.put(replace(found, path=path))
            case _:
                raise UsageError(
                    f"the archive has a hard link /{entry.path}",
                    why=f"its target /{entry.target} is no file there",
                )
