# SPDX-License-Identifier: Apache-2.0
"""The store's gocache/: trees of Go modules that travelled here, and listings of modules.

Who restores and uses a tree (`wherry.gocache.module_tree`) knows nothing of the store; both keep to
one rule. The lock of a tree is flock(2) on its own directory: shared for whoever uses it, exclusive
for whoever makes or removes it. Its mtime is the time of last use. Its name vouches for its files,
so it loses the name before it loses any of them. Listings are compared whenever they are read, and
made again where they are missing: they need no lock.
"""

from __future__ import annotations

import fcntl
import os
import string
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

LISTINGS: Final = "listings"
"""The name of all listings together; a tree's is its digest."""

_UNFINISHED = (".new-", ".old-")
_HEX = frozenset(string.hexdigits.lower())


def path_of(root: str, name: str) -> str:
    """Where a tree, or what is called `LISTINGS`, is in the store at `root`."""
    return f"{root}/gocache/{LISTINGS}" if name == LISTINGS else f"{trees_of(root)}/{name}"


def names(root: str) -> tuple[str, ...]:
    """The trees that are there, and the listings."""
    found = tuple(name for name in _listed(root) if _is_digest(name))
    return (*found, LISTINGS) if os.path.isdir(path_of(root, LISTINGS)) else found


def is_tree(root: str, path: str) -> bool:
    """Whether this is the path of a tree that has its name."""
    place, _, name = path.rpartition("/")
    return place == trees_of(root) and _is_digest(name)


def unfinished(root: str) -> tuple[str, ...]:
    """The paths of trees that are being restored or removed, or were, by a process that died."""
    return tuple(
        f"{trees_of(root)}/{name}" for name in _listed(root) if name.startswith(_UNFINISHED)
    )


def is_used(path: str) -> bool:
    """Whether somebody holds the lock of a tree."""
    descriptor = _try_lock(path)
    if descriptor >= 0:
        os.close(descriptor)
    return descriptor < 0 and os.path.lexists(path)


@contextmanager
def held_unfinished(root: str) -> Iterator[tuple[str, ...]]:
    """Those of `unfinished` whose process is dead, safe from everybody else inside the block."""
    with ExitStack() as stack:
        found = []
        for path in unfinished(root):
            descriptor = _try_lock(path)
            if descriptor >= 0:
                stack.callback(os.close, descriptor)
                found.append(path)
        yield tuple(found)


@contextmanager
def set_aside(path: str, unused_before: float = float("inf")) -> Iterator[str]:
    """Take its name from a tree that nobody uses, nor has used since `unused_before`.

    Gives the path where it is now, held until the end of the block; an empty one where it stays.
    What is not removed by then goes as what a killed process leaves.
    """
    descriptor = _try_lock(path)
    try:
        is_free = descriptor >= 0 and os.fstat(descriptor).st_mtime < unused_before
        yield _renamed(path, descriptor) if is_free else ""
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _renamed(path: str, descriptor: int) -> str:
    aside = f"{os.path.dirname(path)}/.old-{os.urandom(8).hex()}"
    try:
        # To be moved to another directory later on it has to be writable itself: rename(2).
        os.fchmod(descriptor, 0o700)
        os.rename(path, aside)
    except OSError:
        # Such as a disk so full that it takes no new name; other things go and make room.
        return ""
    return aside


def _try_lock(path: str) -> int:
    """A descriptor that holds the exclusive lock of a directory; -1 where that cannot be had."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It may have been removed, and another one come, before the lock was ours.
        if os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False)):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return -1


def _is_digest(name: str) -> bool:
    return len(name) == 64 and _HEX.issuperset(name)


def trees_of(root: str) -> str:
    """Where all trees are, in the store at `root`."""
    return f"{root}/gocache/modules"


def _listed(root: str) -> tuple[str, ...]:
    try:
        return tuple(sorted(os.listdir(trees_of(root))))
    except (FileNotFoundError, NotADirectoryError):
        return ()
