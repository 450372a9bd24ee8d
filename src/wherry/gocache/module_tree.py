# SPDX-License-Identifier: Apache-2.0
"""A module cache of wherry's own, restored from packs and named by its content.

Layout, below a root directory of wherry's (never the user's GOMODCACHE):
  DIGEST/                      a GOMODCACHE: modules, cache/download/…, cache/wherry/… (listings)
  DIGEST/cache/wherry/checked  what was found right (`wherry.gocache.module_check`)
  .new-…/                      being restored
  .old-…/                      being removed

The digest is of the rows and of what go.sum says of them, so that it is known before anything is
downloaded. A tree appears by one rename, after every file in it was found right: named in its
module's listing, whose hash is the one in go.sum. Whoever uses a tree holds a shared lock on its
directory, whoever writes or removes one an exclusive one; what a killed process leaves is unlocked.
Go may add modules to a tree, which it fetches as always.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple, Self

from wherry.fstree.removal import remove_tree
from wherry.gocache.module_check import check_modules, is_settled, listed_modules
from wherry.gocache.module_listing import Listing
from wherry.gocache.module_names import ModuleVersion, Place, place_of
from wherry.gocache.module_sums import Sums, agreed, agreed_gomod
from wherry.gocache.new_files import write_new
from wherry.gocache.table import BadPack, Content, Row
from wherry.oci.canonical import Json, canonical_json

_VERSION = 1
_MOST_ROWS = 400_000
_MOST_BYTES = 8 << 30
_MOST_NOTE = 16 << 20
_TRIES = 20


class TreePlan(NamedTuple):
    """What is to be restored: rows of modules that go.sum vouches for, and the tree's name."""

    digest: str
    rows: tuple[Row, ...]
    sums: Sums

    @property
    def contents(self) -> frozenset[str]:
        """The digests of all contents that are wanted from packs."""
        return frozenset(row.content for row in self.rows)

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(row.size for row in self.rows)

    def lacking(self, gomodcache: str) -> tuple[ModuleVersion, ...]:
        """The modules that the user's own GOMODCACHE has not got; with none, no tree is needed."""
        places = (place_of(row.key) for row in self.rows if row.key.endswith(".listing"))
        modules = sorted(place.module for place in places if place.kind == "listing")
        return tuple(
            module
            for module in modules
            if not os.path.isfile(os.path.join(gomodcache, module.download("ziphash")))
            or not os.path.isdir(os.path.join(gomodcache, module.directory))
        )


def plan_tree(rows: Iterable[Row], sums: Sums) -> TreePlan:
    """Choose among the rows of packs those of modules in `sums`, which are the user's own.

    Of rows with the same key the last one counts. Raises `BadPack` for names that no module cache
    has, names that differ only in case, and more than a build can need.
    """
    wanted: dict[str, Row] = {}
    folded: dict[str, str] = {}
    vouched: Sums = {}
    for row in rows:
        place = place_of(row.key)
        module, h1 = place.module, _vouched(place, sums)
        if not h1:
            continue
        if place.kind != "file" and row.size > _MOST_NOTE:
            raise BadPack("a pack holds a note that is too large", why=repr(row.key)[:200])
        if folded.setdefault(row.key.casefold(), row.key) != row.key:
            raise BadPack("a pack holds names that differ only in case", why=repr(row.key)[:200])
        wanted[row.key] = row._replace(name="")
        vouched[module if place.kind != "mod" else _gomod(module)] = frozenset((h1,))
    chosen = tuple(wanted[key] for key in sorted(wanted))
    if len(chosen) > _MOST_ROWS or sum(row.size for row in chosen) > _MOST_BYTES:
        raise BadPack("a pack holds more module files than a build needs")
    _directories(chosen)
    named: list[Json] = [[*module, *sorted(several)] for module, several in sorted(vouched.items())]
    files: list[Json] = [[row.key, row.content, row.size, row.extra & 1] for row in chosen]
    digest = hashlib.sha256(canonical_json([_VERSION, named, files])).hexdigest()
    return TreePlan(digest, chosen, vouched)


class ModuleTree:
    """A restored tree, in use until it is closed; `path` is the GOMODCACHE."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._modules: dict[ModuleVersion, Listing] | None = None
        self._whole: frozenset[ModuleVersion] = frozenset()

    def pruned(self) -> Mapping[ModuleVersion, Listing]:
        """The modules of which the tree may lack files, with all files that they have."""
        return {
            module: listing
            for module, listing in self._listings().items()
            if module not in self._whole
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others remove the tree."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _listings(self) -> dict[ModuleVersion, Listing]:
        if self._modules is None:
            self._modules, self._whole = listed_modules(self.path)
        return self._modules


def open_tree(root: str, digest: str) -> ModuleTree | None:
    """The tree of this name below `root`, marked as used now; None where it is not there.

    After the machine was started anew its files are read and compared once.
    """
    path = os.path.join(root, digest)
    descriptor = _locked(path, fcntl.LOCK_SH)
    if descriptor < 0:
        return None
    tree = ModuleTree(path, descriptor)
    if not is_settled(path):
        tree.close()
        discard(root, digest)
        return None
    with suppress(OSError):
        os.utime(path)
    return tree


def discard(root: str, digest: str) -> bool:
    """Remove a tree; False where it is in use. Raises `OSError` for what cannot be removed."""
    path = os.path.join(root, digest)
    descriptor = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if descriptor < 0:
        return not os.path.lexists(path)
    try:
        aside = os.path.join(root, f".old-{secrets.token_hex(8)}")
        os.rename(path, aside)
    finally:
        os.close(descriptor)
    remove_tree(aside)
    return True


def sweep(root: str) -> None:
    """Remove what killed processes left behind."""
    with suppress(OSError):
        for name in sorted(os.listdir(root)):
            if name.startswith((".new-", ".old-")):
                _sweep_one(os.path.join(root, name))


def trees(root: str) -> list[tuple[str, int]]:
    """The digests of all trees, each with when it was used last (ns since 1970), oldest first."""
    found: list[tuple[str, int]] = []
    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if len(entry.name) == 64:
                with suppress(OSError):
                    found.append((entry.name, entry.stat(follow_symlinks=False).st_mtime_ns))
    return sorted(found, key=lambda pair: (pair[1], pair[0]))


class StagedTree:
    """A tree being restored: `place` takes the contents, `finish` makes it one of the trees.

    A context: what is not finished is removed at its end.
    """

    def __init__(self, root: str, plan: TreePlan) -> None:
        self._root = root
        self._plan = plan
        self._path = ""
        self._descriptor = -1
        self._guard = threading.Lock()
        self._begun: set[str] = set()
        self._taken: set[str] = set()
        self._targets: dict[str, list[Row]] = {}
        for row in plan.rows:
            self._targets.setdefault(row.content, []).append(row)

    def __enter__(self) -> Self:
        os.makedirs(self._root, mode=0o700, exist_ok=True)
        sweep(self._root)
        for _ in range(_TRIES):
            # Where a sweep of another process takes the new directory before it is locked: again.
            self._path = os.path.join(self._root, f".new-{secrets.token_hex(8)}")
            os.mkdir(self._path, 0o700)
            self._descriptor = _locked(self._path, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._descriptor >= 0:
                break
        else:
            raise OSError(errno.ENOLCK, "a new directory cannot be locked", self._root)
        for directory in _directories(self._plan.rows):
            os.mkdir(os.path.join(self._path, directory), 0o755)
        return self

    def __exit__(self, *_error: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._path:
            with suppress(OSError):
                remove_tree(self._path)

    def place(self, content: Content, chunks: Iterator[bytes]) -> None:
        """Take one content, for all files that have it; called by several threads."""
        rows = self._targets.get(content.digest, [])
        with self._guard:
            if not rows or content.digest in self._begun:
                return
            self._begun.add(content.digest)
        try:
            self._write_all(rows, content, chunks)
        except BaseException:
            # Another pack may have it, too.
            for row in rows:
                with suppress(OSError):
                    os.unlink(os.path.join(self._path, row.key))
            self._begun.discard(content.digest)
            raise
        self._taken.add(content.digest)

    def finish(self) -> tuple[ModuleTree, dict[ModuleVersion, str]]:
        """The tree, and the modules that are not in it since something of them is not right.

        Raises `BadPack` where contents are missing, `OSError` where it cannot be put in place.
        """
        missing = [row for row in self._plan.rows if row.content not in self._taken]
        if missing:
            raise BadPack("a pack lacks what its table names", why=repr(missing[0].key)[:200])
        refused = check_modules(self._path, self._plan.rows, self._plan.sums)
        final = os.path.join(self._root, self._plan.digest)
        # Where that fails another process was first.
        with suppress(OSError):
            os.rename(self._path, final)
            self._path = ""
        os.close(self._descriptor)
        self._descriptor = -1
        tree = open_tree(self._root, self._plan.digest)
        if tree is None:
            raise OSError(errno.ENOENT, "cannot be put in place", final)
        return tree, refused

    def _write_all(self, rows: list[Row], content: Content, chunks: Iterator[bytes]) -> None:
        if any(row.size != content.size for row in rows):
            raise BadPack("a pack gives a file two sizes", why=repr(rows[0].key)[:200])
        first = self._written(rows[0], chunks)
        for row in rows[1:]:
            with open(first, "rb") as source:
                self._written(row, iter(lambda: source.read(1 << 20), b""))

    def _written(self, row: Row, chunks: Iterator[bytes]) -> str:
        path = os.path.join(self._path, row.key)
        # As Go makes them.
        mode = 0o666 if row.key.startswith("cache/") else 0o555 if row.extra & 1 else 0o444
        write_new(path, chunks, mode)
        return path


def _directories(rows: tuple[Row, ...]) -> list[str]:
    """The directories of all rows, each after the one it is in."""
    found: set[str] = set()
    for row in rows:
        directory = os.path.dirname(row.key)
        while directory and directory not in found:
            found.add(directory)
            directory = os.path.dirname(directory)
        if len(found) > _MOST_ROWS:
            raise BadPack("a pack holds more directories than a build needs")
    names = {row.key for row in rows}
    if not names.isdisjoint(found):
        raise BadPack("a pack names a file where a directory is",
                      why=repr(min(names & found))[:200])  # fmt: skip
    return sorted(found)


def _vouched(place: Place, sums: Sums) -> str:
    """What go.sum says of the module that a path belongs to; empty where it is not wanted."""
    if place.kind == "zip":
        return ""
    return (agreed_gomod if place.kind == "mod" else agreed)(sums, place.module)


def _gomod(module: ModuleVersion) -> ModuleVersion:
    return module._replace(version=f"{module.version}/go.mod")


def _locked(path: str, how: int) -> int:
    """A descriptor of the directory with a lock; -1 where it is gone, or another one holds it."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return -1
        try:
            fcntl.flock(descriptor, how)
            held, now = os.fstat(descriptor), os.stat(path, follow_symlinks=False)
        except OSError:
            os.close(descriptor)
            return -1
        if (held.st_dev, held.st_ino) == (now.st_dev, now.st_ino):
            return descriptor
        os.close(descriptor)


def _sweep_one(path: str) -> None:
    descriptor = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if descriptor >= 0:
        with suppress(OSError):
            remove_tree(path)
        os.close(descriptor)
