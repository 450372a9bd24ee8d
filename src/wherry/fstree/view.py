# SPDX-License-Identifier: Apache-2.0
"""The tree that a stack of layers makes, as a value: nothing is unpacked.

It is what `wherry.fstree.unpack` would put on a disk, applied to names alone: a path passes through
the links that lower layers put there, inside the root; a whiteout spares its own layer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from wherry.errors import UsageError
from wherry.fstree.layer_changes import LayerIndex, Removal
from wherry.fstree.tar_entries import no_such_file
from wherry.fstree.tree import Directory, Entry, File, HardLink, Symlink
from wherry.oci.digest import Digest

# The bounds of wherry.fstree.rooted: what is applied here can be unpacked.
_LINKS: Final = 40
_DEPTH: Final = 256
# Directories that one layer may imply without an entry of their own.
_IMPLIED: Final = 1_000_000
# Components that one layer's paths may pass where the short way is not open.
_STEPS: Final = 20_000_000
_ROOT: Final = Directory("")


class View:
    """An immutable file tree made of layers; implements `wherry.fstree.files.Files`.

    Layers are applied when the tree is first looked at. That raises `UsageError` for a layer that
    cannot be applied: a hard link to nothing, links in a circle, a file that is a directory too.
    Safe for threads.
    """

    def __init__(self, made: _Known | tuple[View, LayerIndex]) -> None:
        # One attribute, set once more when the layer is applied: two threads may both do that.
        self._made = made

    @classmethod
    def empty(cls) -> View:
        """A tree with nothing but its root."""
        return cls(_Known({"": _ROOT}, {}, 0))

    def with_layer(self, index: LayerIndex) -> View:
        """This tree with one more layer on top."""
        return View((self, index))

    def entry(self, path: str) -> Entry | None:
        """What lies at `path`; None for nothing."""
        return self._tree.entries.get(path)

    def names(self, path: str) -> tuple[str, ...]:
        """The names in the directory `path`, sorted."""
        return tuple(sorted(self._tree.children.get(path, ())))

    def digest(self, file: File) -> Digest:
        """The digest of a file's content."""
        return file.content.digest

    @property
    def size(self) -> int:
        """The sum of the files' sizes in bytes, each file counted once."""
        seen: set[int] = set()
        total = 0
        for entry in self._tree.entries.values():
            if isinstance(entry, File) and (not entry.inode or entry.inode not in seen):
                seen.add(entry.inode)
                total += entry.content.size
        return total

    def __len__(self) -> int:
        """The number of entries, the root not counted."""
        return len(self._tree.entries) - 1

    @property
    def _tree(self) -> _Known:
        made = self._made
        if isinstance(made, _Known):
            return made
        # Not by recursion: that would be as deep as the stack of layers.
        indexes: list[LayerIndex] = []
        while not isinstance(made, _Known):
            below, index = made
            indexes.append(index)
            made = below._made  # noqa: SLF001 - of the same class
        for index in reversed(indexes):
            made = _Applying(made).applied(index)
        self._made = made
        return made


class _Known:
    """A tree's entries by path, the names in each directory, and the last inode given away.

    All paths are real: what is above an entry is a `Directory`.
    """

    __slots__ = ("children", "entries", "inode")

    def __init__(
        self, entries: dict[str, Entry], children: dict[str, set[str]], inode: int
    ) -> None:
        self.entries = entries
        self.children = children
        self.inode = inode


class _Applying:
    """One layer being applied to a copy of a tree."""

    def __init__(self, below: _Known) -> None:
        self._entries = dict(below.entries)
        self._children = dict(below.children)
        self._inode = below.inode
        # Directories whose sets of names are this tree's own by now.
        self._own: set[str] = set()
        # Paths that this layer wrote, and their parents; kept only if it removes something.
        self._written: set[str] | None = None
        self._implied = self._steps = 0

    def applied(self, index: LayerIndex) -> _Known:
        """The tree with the layer."""
        if index.whiteouts or index.opaque:
            self._written = {""}
        for change in index.changes():
            if isinstance(change, Removal):
                self._apply_removal(change)
            elif not change.path:
                self._put(_checked_root(change))
            else:
                self._apply(change)
        return _Known(self._entries, self._children, self._inode)

    def _apply(self, entry: Entry) -> None:
        path = entry.path
        parent, slash, name = path.rpartition("/")
        # Nearly always the parent is there and real, and with it all that is above.
        is_there = isinstance(self._entries.get(parent), Directory)
        if slash and (not is_there or len(parent) > 2 * _DEPTH):
            real = self._walk(parent, create=True)
            if real != parent:
                path = f"{real}/{name}" if real else name
        if isinstance(entry, HardLink):
            self._link(path, entry)
        else:
            self._make_room(path, isinstance(entry, Directory))
            self._put(entry if path == entry.path else replace(entry, path=path))
        if self._written is not None:
            self._note(path)

    def _link(self, path: str, link: HardLink) -> None:
        parent, _, name = link.target.rpartition("/")
        real = self._walk(parent, create=False)
        target = None if real is None else f"{real}/{name}" if real else name
        if target == path and not isinstance(self._entries.get(path), Directory | None):
            return
        if target is None or isinstance(self._entries.get(target), Directory | None):
            raise no_such_file(path, link.target)
        self._make_room(path, is_directory=False)
        # It may have gone with what made room.
        found = self._entries.get(target)
        if found is None:
            raise no_such_file(path, link.target)
        if isinstance(found, File) and not found.inode:
            self._inode += 1
            found = replace(found, inode=self._inode)
            self._entries[target] = found
        self._put(replace(found, path=path))

    def _apply_removal(self, removal: Removal) -> None:
        if removal.only_below:
            real = self._walk(removal.path, create=False)
            if real is not None:
                self._clear(real)
            return
        parent, _, name = removal.path.rpartition("/")
        real = self._walk(parent, create=False)
        if real is not None:
            self._hide(f"{real}/{name}" if real else name)

    def _hide(self, path: str) -> None:
        """Remove what lower layers put at `path`; keep what this layer did."""
        if self._written is None or path not in self._written:
            if path in self._entries:
                self._remove(path)
        elif isinstance(self._entries.get(path), Directory):
            self._clear(path)

    def _clear(self, directory: str) -> None:
        for name in tuple(self._children.get(directory, ())):
            self._hide(f"{directory}/{name}" if directory else name)

    def _make_room(self, path: str, is_directory: bool) -> None:
        found = self._entries.get(path)
        if found is not None and not (is_directory and isinstance(found, Directory)):
            self._remove(path)

    def _remove(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        self._names(parent).discard(name)
        todo = [path]
        while todo:
            gone = todo.pop()
            del self._entries[gone]
            self._own.discard(gone)
            todo.extend(f"{gone}/{name}" for name in self._children.pop(gone, ()))
            if self._written is not None and gone != path:
                self._written.discard(gone)

    def _put(self, entry: Entry) -> None:
        path = entry.path
        if path and path not in self._entries:
            parent, _, name = path.rpartition("/")
            self._names(parent).add(name)
        self._entries[path] = entry

    def _names(self, directory: str) -> set[str]:
        """The names in a directory, to be changed."""
        if directory not in self._own:
            self._own.add(directory)
            self._children[directory] = set(self._children.get(directory, ()))
        return self._children[directory]

    def _note(self, path: str) -> None:
        written = self._written
        while written is not None and path not in written:
            written.add(path)
            path = path.rpartition("/")[0]

    def _walk(self, path: str, create: bool) -> str | None:
        """The real directory that `path` leads to, made with `create`; None if it is not there."""
        done: list[str] = []
        todo = path.split("/")[::-1] if path else []
        links = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                self._steps += 1
                del done[-1:]
                continue
            here = "/".join((*done, part))
            found = self._entries.get(here)
            if isinstance(found, Symlink):
                links += 1
                if found.target.startswith("/"):
                    done.clear()
                todo.extend(found.target.split("/")[::-1])
            elif isinstance(found, Directory):
                done.append(part)
            elif found is not None:
                raise UsageError(f"/{here} is a file and a directory at once")
            elif create:
                self._imply(here)
                done.append(part)
            else:
                return None
            self._steps += 1
            if links > _LINKS or len(done) > _DEPTH or self._steps > _STEPS:
                raise UsageError(f"/{path} passes too many links or directories")
        return "/".join(done)

    def _imply(self, path: str) -> None:
        self._implied += 1
        if self._implied > _IMPLIED:
            raise UsageError(f"a layer implies more than {_IMPLIED} directories")
        self._put(Directory(path))


def _checked_root(entry: Entry) -> Directory:
    if not isinstance(entry, Directory):
        raise UsageError("an entry without a name is no directory")
    return entry
