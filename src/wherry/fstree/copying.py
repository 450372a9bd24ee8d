# SPDX-License-Identifier: Apache-2.0
"""What COPY, ADD and WORKDIR do to a root, as a computation on values.

`Target` is the root while one op runs; every action sees what the ones before it did. The rules,
edge cases included, are BuildKit's: a directory is copied as its contents; a destination that ends
with a slash, or is a directory, takes files under their own names; links on the way to the
destination are followed inside the root, links in the place of what is copied are replaced;
directories merge and take the mode, owner and capabilities of the copied ones, except for the
source's own; a file never replaces a directory, nor a directory anything else. Names of one file
stay names of one file within one source. Nothing here reads or writes a disk.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, NamedTuple

from wherry.errors import InternalError, UsageError
from wherry.fstree.archived import unpack
from wherry.fstree.changed import (
    ChangedRoot,
    Owner,
    described,
    layer_xattrs,
    new_owner,
)
from wherry.fstree.files import Files
from wherry.fstree.modes import Mode, parse_mode
from wherry.fstree.owners import GROUP, PASSWD, UNCHANGED, ReadFile, find_owner
from wherry.fstree.resolve import resolve
from wherry.fstree.selection import Selection, Source, normal_path
from wherry.fstree.steps import Step
from wherry.fstree.tree import Directory, Entry, File, HardLink, Inline, Special, Symlink

Unpacker = Callable[[File, Files], Iterable[Entry] | None]
"""Opens a file of a tree as an archive: its entries in order, or None where it is none."""

_MADE_FILE: Final = 0o644


class CopySpec(NamedTuple):
    """One source of a COPY or ADD; the fields are those of `wherry.graph.ops.Copy`.

    `mtime` is the time of directories that are made on the way, in seconds since 1970; None is the
    time that the layer's writer gives.
    """

    path: str
    destination: str
    owner: str = ""
    mode: str = ""
    parents: bool = False
    excludes: tuple[str, ...] = ()
    unpack: bool = False
    literal: bool = False
    mtime: int | None = None


class _How(NamedTuple):
    """How entries are changed while they are copied; None keeps what they have."""

    owner: Owner | None
    mode: Mode | None
    mtime: int | None
    keeps_top: bool

    @property
    def parents_mode(self) -> int:
        return self.mode.of_parents if self.mode else 0o755


class Target:
    """The root `below` while one op changes it.

    `read` gives a file's content; it is asked for passwd and group only. `has_root` is False where
    the op stands on scratch, or alone: names of owners are then an error, not root.
    """

    def __init__(
        self, below: Files, read: Callable[[File], bytes], *, has_root: bool = True
    ) -> None:
        self._below = below
        self._read = read
        self._has_root = has_root
        self._root = ChangedRoot(below)

    def copy(self, source: Files, spec: CopySpec, unpacker: Unpacker | None = None) -> None:
        """Copy from `source` as `spec` says.

        Raises `NotFound` for a source that is not there, and `UsageError` for what cannot be
        copied there, bad patterns, modes and owners.
        """
        how = self._how(spec.owner, spec.mode, spec.mtime, keeps_top=spec.literal)
        selection = Selection(spec.path, spec.parents, spec.excludes, spec.literal, spec.unpack)
        taken = False
        for found in selection.sources(source):
            archive = self._archive(source, found, unpacker) if spec.unpack else None
            if archive is not None:
                place = self._resolved(spec.destination)
                self._root.make_directories(place, 0o755, how.owner, how.mtime)
                unpack(self._root, place, archive, how.owner)
                continue
            to = self._place(source.entry(found.path), found, spec.destination, how)
            taken |= self._copy_steps(selection.steps(source, found), to, how)
        selection.check_required(source, taken)

    def write_file(
        self,
        name: str,
        data: bytes,
        destination: str,
        *,
        owner: str = "",
        mode: str = "",
        mtime: int | None = None,
    ) -> None:
        """Write `data` to `destination`, or to `name` in it where it is a directory."""
        how = self._how(owner, mode, mtime, keeps_top=True)
        file = File(name, Inline(data), _MADE_FILE, mtime=mtime)
        to = self._place(file, Source(name.rpartition("/")[2], name), destination, how)
        self._copy_steps(iter((Step("", file, is_parent=False),)), to, how)

    def make_directory(
        self, path: str, mode: int = 0o755, owner: str = "", mtime: int | None = None
    ) -> None:
        """Make a directory and those it lies in, as WORKDIR does; what is there stays."""
        how = self._how(owner, "", mtime, keeps_top=True)
        place = self._resolved(path)
        self._root.make_directories(place, mode & 0o777, how.owner, mtime)

    def changes(self) -> tuple[Entry, ...]:
        """What the op changed, with the directories it lies in; for `make_tree`."""
        return self._root.changes()

    def whiteouts(self) -> tuple[str, ...]:
        """What the op removed of the root below: only archives that ADD unpacks do that."""
        return self._root.whiteouts()

    def _how(self, owner: str, mode: str, mtime: int | None, *, keeps_top: bool) -> _How:
        found: Owner | None = None
        if owner:
            passwd, group = self._reader(PASSWD), self._reader(GROUP)
            found = find_owner(owner, passwd, group)
        return _How(found, parse_mode(mode) if mode else None, mtime, keeps_top)

    def _reader(self, path: str) -> ReadFile | None:
        def read() -> bytes | None:
            found = self._below.entry(resolve(self._below, path))
            if found is None:
                return None
            if not isinstance(found, File):
                raise UsageError(
                    "cannot look up the owner", why=f"/{path} of the image is {described(found)}"
                )
            return self._read(found)

        return read if self._has_root else None

    def _archive(
        self, source: Files, found: Source, unpacker: Unpacker | None
    ) -> Iterable[Entry] | None:
        entry = source.entry(found.path)
        if unpacker is None:
            raise InternalError("an archive is to be unpacked, and nothing is given to do it")
        return unpacker(entry, source) if isinstance(entry, File) else None

    def _resolved(self, path: str) -> str:
        return resolve(self._root, normal_path(path))

    def _place(self, top: Entry | None, source: Source, destination: str, how: _How) -> str:
        """Where `top` goes: makes what has to be there for it."""
        root = self._root
        normal = normal_path(destination)
        # What ends with a slash is to be a directory, whatever is copied.
        is_directory = destination.endswith(("/", "/.")) or destination in ("", ".")
        outer = normal if is_directory else posixpath.dirname(normal)
        directories = how.parents_mode, how.owner, how.mtime
        root.make_directories(resolve(root, outer), *directories)
        to = resolve(root, normal)
        present = root.entry(to)
        if isinstance(top, Directory):
            # Only a literal source is more than its contents.
            if how.keeps_top and isinstance(present, Directory):
                to = posixpath.join(to, source.name) if source.name else to
            elif present is None and not how.keeps_top:
                root.make_directories(to, *directories)
        elif isinstance(present, Directory):
            to = posixpath.join(to, source.name)
        root.make_directories(posixpath.dirname(to), *directories)
        return to

    def _copy_steps(self, steps: Iterable[Step], to: str, how: _How) -> bool:
        """Copy to `to`; whether there was anything below the source."""
        copier = _Copier(self._root, how)
        prefix = f"{to}/" if to else ""
        below = ""
        for below, entry, is_parent in steps:
            if not below:
                copier.copy_top(entry, to)
            elif is_parent:
                copier.copy_parent(entry, prefix + below)
            else:
                copier.copy(entry, prefix + below)
        return bool(below)


class _Copier:
    """Copies the entries of one source."""

    def __init__(self, root: ChangedRoot, how: _How) -> None:
        self._root = root
        self._how = how
        self._names: dict[int, int] = {}  # inode numbers of the source, and those in the root

    def copy_top(self, entry: Entry, path: str) -> None:
        """The source itself: a directory that is there keeps what it has."""
        if not isinstance(entry, Directory):
            self.copy(entry, path)
        elif isinstance(present := self._directory(path), Directory):
            if path and self._root.is_new(path):
                self._root.put(replace(present, path=path, mtime=entry.mtime))
        else:
            self._put_directory(entry, path, None)

    def copy_parent(self, entry: Entry, path: str) -> None:
        """A directory that holds what is asked for: one that is there takes just the mode."""
        if not isinstance(entry, Directory):
            raise InternalError(f"/{entry.path} holds entries and is no directory")
        present = self._directory(path)
        if present is None:
            self._put_directory(entry, path, None)
        else:
            self._root.put(replace(present, path=path, mode=entry.mode))

    def copy(self, entry: Entry, path: str) -> None:
        """Anything below the source."""
        if isinstance(entry, Directory):
            self._put_directory(entry, path, self._directory(path))
            return
        if isinstance(entry, HardLink):
            raise InternalError(f"a readable tree has the hard link /{entry.path}")
        root, how = self._root, self._how
        if type(root.entry(path)) is Directory:
            raise UsageError(
                f"cannot copy /{entry.path} to /{path}",
                why="there is a directory, which a file does not replace",
            )
        uid, gid = (entry.uid, entry.gid) if how.owner is None else new_owner(how.owner)
        match entry:
            case File():
                mode = how.mode.apply(entry.mode, is_directory=False) if how.mode else entry.mode
                xattrs = layer_xattrs(entry.xattrs)
                file = File(path, entry.content, mode, uid, gid, xattrs, entry.mtime)
                if entry.inode:
                    self._put_file(file, entry.inode)
                else:
                    root.put(file)
            case Symlink():
                root.put(
                    Symlink(path, entry.target, uid, gid, layer_xattrs(entry.xattrs), entry.mtime)
                )
            case Special():
                mode = how.mode.apply(entry.mode, is_directory=False) if how.mode else entry.mode
                root.put(replace(entry, path=path, mode=mode, uid=uid, gid=gid))

    def _put_file(self, file: File, inode: int) -> None:
        """A file that may have further names in the source."""
        number = self._names.get(inode)
        if number is None:
            self._names[inode] = self._root.put_shared(file)
        else:
            self._root.put_name(file.path, number)

    def _directory(self, path: str) -> Directory | None:
        """The directory at `path`, if there is one; anything else there is refused."""
        present = self._root.entry(path)
        if present is not None and not isinstance(present, Directory):
            raise UsageError(
                f"cannot copy a directory to /{path}",
                why=f"there is {described(present)}, which a directory does not replace",
            )
        return present

    def _put_directory(self, entry: Directory, path: str, present: Directory | None) -> None:
        how = self._how
        mode = how.mode.apply(entry.mode, is_directory=True) if how.mode else entry.mode
        uid, gid = (entry.uid, entry.gid) if how.owner is None else how.owner
        xattrs = layer_xattrs(entry.xattrs)
        if UNCHANGED in (uid, gid):
            old = (present.uid, present.gid) if present else (0, 0)
            uid, gid = (old[0] if uid == UNCHANGED else uid), (old[1] if gid == UNCHANGED else gid)
        if present and present.xattrs and not xattrs:
            xattrs = present.xattrs
        self._root.put(Directory(path, mode, uid, gid, xattrs, entry.mtime))
