# SPDX-License-Identifier: Apache-2.0
"""What a RUN changed, read from its snapshot: names and metadata at once, contents on demand.

Files of a snapshot belong to ids that only the namespace worker can act for, so that it looks
around and opens, and this process reads through the descriptors that it is given.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, cast

from wherry.engines.local.results import Change, Slab, change_key
from wherry.errors import BuildError, UsageError
from wherry.fstree.layer_changes import LayerIndex
from wherry.fstree.safe_open import OpenRoot
from wherry.fstree.tree import (
    Directory,
    Entry,
    File,
    HardLink,
    InSnapshot,
    Special,
    Symlink,
)
from wherry.oci.digest import Digest
from wherry.sandbox.mapping import Mapping

if TYPE_CHECKING:
    from wherry.engines.local.storage import Snapshots
    from wherry.fstree.view import View
    from wherry.sandbox.exchange import Scanned
    from wherry.sandbox.namespace import Namespace

_PIECE: Final = 1 << 20


class SnapshotReader:
    """Implements `wherry.engines.local.roots.ChangeReader`; safe for threads."""

    def __init__(self, snapshots: Snapshots, namespace: Callable[[], Namespace]) -> None:
        self._snapshots = snapshots
        self._namespace = namespace
        self._lock = threading.Lock()
        self._opened: dict[str, _Opening] = {}

    def close(self) -> None:
        """Close what was opened; contents that were given can be read no more."""
        with self._lock:
            for opening in self._opened.values():
                opening.close()
            self._opened.clear()

    def _opening(self, place: str) -> _Opening:
        with self._lock:
            if place not in self._opened:
                self._opened[place] = _Opening(self._namespace(), place)
            return self._opened[place]

    def index(self, stack: tuple[Slab, ...], below: Callable[[], View]) -> LayerIndex:
        """The change on top of `stack` as the layer that it would be.

        `below` gives the root that it stands on. Raises `BuildError` where the snapshot is gone.
        """
        namespace = self._namespace()
        top = stack[-1]
        # Under the ids of another place its owners would be others.
        is_here = isinstance(top, Change) and top.place == namespace.place.name
        place = self._snapshots.find(change_key(stack)) if is_here else None
        if place is None:
            raise lost(stack)
        one_id = namespace.place.mapping is Mapping.ONE
        found = _Collected(self._opening(place), below() if one_id else None)
        found.take(namespace.scan(place))
        return found.index()


@contextmanager
def read_directory(namespace: Namespace, place: str) -> Iterator[LayerIndex]:
    """What lies in the directory `fs` of `place`, as owners are inside of the namespace.

    Contents can be read inside of the block. Raises `MachineError` where names go meanwhile.
    """
    opening = _Opening(namespace, place)
    try:
        found = _Collected(opening, None)
        found.take(namespace.scan(place))
        yield found.index()
    finally:
        opening.close()


class LostChange(BuildError):
    """What an earlier RUN left cannot be had any more: it has to run again."""


def lost(stack: tuple[Slab, ...]) -> LostChange:
    """The error for a change whose snapshot is gone and of which no layer was made."""
    return LostChange(
        "the result of an earlier RUN is no longer in the store",
        why=f"its snapshot {change_key(stack)} was removed meanwhile, or made under other user ids",
        hint="build again with --no-cache",
    )


class _Opening:
    """Opens the files of one snapshot."""

    def __init__(self, namespace: Namespace, place: str) -> None:
        self._namespace = namespace
        self.place = place
        self._root: OpenRoot | None = None
        with suppress(UsageError):
            self._root = OpenRoot(f"{place}/fs")

    def open(self, path: str) -> BinaryIO:
        """The file: most are the user's own; the worker has to be asked for those of other ids."""
        if self._root is None:
            return self._namespace.open(self.place, path)
        try:
            descriptor = self._root.file(path)
        except OSError:
            return self._namespace.open(self.place, path)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return open(descriptor, "rb")

    def close(self) -> None:
        if self._root is not None:
            self._root.close()


class _SnapshotFile:
    """One file; implements `wherry.fstree.tree.SnapshotFile`."""

    def __init__(self, opening: _Opening, path: str) -> None:
        self._opening = opening
        self._path = path
        self._digest: Digest | None = None

    def open(self) -> BinaryIO:
        return self._opening.open(self._path)

    def digest(self) -> Digest:
        if self._digest is None:
            hasher = hashlib.sha256()
            with self.open() as file:
                while piece := file.read(_PIECE):
                    hasher.update(piece)
            self._digest = Digest("sha256", hasher.hexdigest())
        return self._digest

    def note(self, digest: Digest) -> None:
        # What was keyed by one content must not be recorded with another.
        if self._digest not in (None, digest):
            raise BuildError(
                f"/{self._path} changed after a RUN had made it",
                why=f"its content is no longer {self._digest}",
                hint="build again with --no-cache",
            )
        self._digest = digest


class _Collected:
    """A change's entries and removals, gathered from what the worker saw."""

    def __init__(self, opening: _Opening, owners: View | None) -> None:
        self._opening = opening
        # Where one id stands for all, files keep the owners that they had below.
        self._owners = owners
        self._entries: list[Entry] = []
        self._whiteouts: list[str] = []
        self._opaque: list[str] = []
        self._first: dict[int, str] = {}

    def take(self, items: Iterable[Scanned]) -> None:
        """Take what was seen; the names of one file are ordered as a layer wants them."""
        for item in sorted(items, key=lambda item: item.path.split("/")):
            if item.kind == "whiteout":
                self._whiteouts.append(item.path)
                continue
            if item.opaque:
                self._opaque.append(item.path)
            if item.path:
                self._entries.append(self._owned(self._entry(item)))

    def index(self) -> LayerIndex:
        """All of it."""
        return LayerIndex(tuple(self._entries), tuple(self._whiteouts), tuple(self._opaque))

    def _entry(self, item: Scanned) -> Entry:
        owner = item.uid, item.gid
        match item.kind:
            case "directory":
                return Directory(item.path, item.mode, *owner, item.xattrs, item.mtime)
            case "symlink":
                return Symlink(item.path, item.target, *owner, item.xattrs, item.mtime)
            case "file":
                return self._file(item)
            case kind:
                # The closed set of `Scanned`, less what is handled above.
                special = cast(Literal["char", "block", "fifo"], kind)
                numbers = item.major, item.minor
                return Special(item.path, special, *numbers, item.mode, *owner, item.mtime)

    def _file(self, item: Scanned) -> Entry:
        if item.inode:
            first = self._first.setdefault(item.inode, item.path)
            if first != item.path:
                return HardLink(item.path, first, item.mtime)
        opening = self._opening
        content = InSnapshot(opening.place, item.path, item.size, _SnapshotFile(opening, item.path))
        return File(item.path, content, item.mode, item.uid, item.gid, item.xattrs, item.mtime)

    def _owned(self, entry: Entry) -> Entry:
        if self._owners is None or isinstance(entry, HardLink):
            return entry
        below = self._owners.entry(entry.path)
        if below is None or isinstance(below, HardLink):
            return entry
        return replace(entry, uid=below.uid, gid=below.gid)
