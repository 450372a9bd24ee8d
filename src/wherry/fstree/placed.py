# SPDX-License-Identifier: Apache-2.0
"""Chosen files put on a base: the tree of their layer.

A layer's entries replace what the base has in their place, also links and the facts of directories.
So paths are followed through the base's links first (`/var/run` is often one), and a directory that
the base has comes along with the base's own mode and owner: /tmp stays what it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from wherry.errors import UsageError
from wherry.fstree.chosen import Chosen, Taken
from wherry.fstree.files import Files
from wherry.fstree.resolve import resolve
from wherry.fstree.tree import Directory, Entry, Tree, make_tree

Owner = tuple[int, int]
OwnerOf = Callable[[str], Owner]
"""The uid and gid that the text of an `owner` means in the base; raises `UsageError`."""


def placed(chosen: Chosen, base: Files, owner_of: OwnerOf) -> Tree:
    """The tree that puts `chosen` on `base`.

    Raises `UsageError` where two entries write one path, where a file would take a directory's
    place or the other way round, and what `owner_of` raises.
    """
    placing = _Placing(base, owner_of)
    for taken in chosen.taken:
        placing.put(taken)
    return placing.tree()


class _Placing:
    def __init__(self, base: Files, owner_of: OwnerOf) -> None:
        self._base = base
        self._owner_of = owner_of
        self._owners: dict[str, Owner] = {}
        self._real: dict[str, str] = {}
        self._put: dict[str, tuple[Entry, Taken]] = {}
        # Directories on the way to what is put.
        self._above: dict[str, Directory] = {}

    def put(self, taken: Taken) -> None:
        """Add one entry with the directories it lies in."""
        entry = taken.entry
        if isinstance(entry, Directory):
            path = self._directory(entry.path)
        else:
            parent, _, name = entry.path.rpartition("/")
            real = self._directory(parent)
            path = f"{real}/{name}" if real else name
        self._check(path, taken)
        self._add_above(path, taken)
        if path:
            self._put[path] = (self._owned(path, taken), taken)

    def tree(self) -> Tree:
        """All that was put."""
        entries = {**self._above, **{path: entry for path, (entry, _) in self._put.items()}}
        return make_tree(entries.values())

    def _directory(self, path: str) -> str:
        """Where a directory of the image really is: the base's links are followed."""
        known = self._real.get(path)
        if known is None:
            known = self._real[path] = resolve(self._base, path)
        return known

    def _check(self, path: str, taken: Taken) -> None:
        is_directory = isinstance(taken.entry, Directory)
        other = self._put.get(path)
        if other is not None and not (is_directory and isinstance(other[0], Directory)):
            raise UsageError(
                f"two entries of `files` write /{path}",
                why=f"{_shown(other[1])} and {_shown(taken)}",
                hint="give one of them another `to`, or leave it out",
            )
        if not is_directory and path in self._above:
            raise _blocked(path, taken, "another entry of `files` puts files below it")
        found = self._base.entry(path)
        if found is None or isinstance(found, Directory) == is_directory:
            return
        if is_directory:
            raise _blocked(path, taken, "in the base that is no directory")
        hint = f'write to = "/{path}/" to put it into that directory'
        raise _blocked(path, taken, "in the base that is a directory", hint)

    def _add_above(self, path: str, taken: Taken) -> None:
        while path:
            path = path.rpartition("/")[0]
            if not path or path in self._above:
                return
            known = self._put.get(path)
            if known is not None and not isinstance(known[0], Directory):
                raise _blocked(path, taken, f"{_shown(known[1])} makes it a file")
            found = self._base.entry(path)
            if found is not None and not isinstance(found, Directory):
                raise _blocked(path, taken, f"/{path} of the base is no directory")
            self._above[path] = Directory(path) if found is None else replace(found, path=path)

    def _owned(self, path: str, taken: Taken) -> Entry:
        """The entry as it goes into the layer."""
        entry, text = taken.entry, taken.wanted.owner
        if isinstance(entry, Directory):
            found = self._base.entry(path)
            if isinstance(found, Directory):
                # Also where a tree such as `rootfs` brings its own tmp and home.
                entry = replace(found, path=path)
                if not text:
                    return entry
        if text and text not in self._owners:
            self._owners[text] = self._owner_of(text)
        uid, gid = self._owners[text] if text else (0, 0)
        return replace(entry, path=path, uid=uid, gid=gid)


def _shown(taken: Taken) -> str:
    return f"{taken.source!r} (from = {taken.wanted.source!r}, to = {taken.wanted.target!r})"


def _blocked(path: str, taken: Taken, why: str, hint: str = "") -> UsageError:
    return UsageError(
        f"`files` cannot put {taken.source!r} to /{path}",
        why=why,
        hint=hint or "choose another `to`",
    )
