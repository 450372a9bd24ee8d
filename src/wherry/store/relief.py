# SPDX-License-Identifier: Apache-2.0
"""Room on a disk so full that the database cannot even be opened: what prune begins with then.

Only what is found missing without harm goes, for nobody can be asked what a record needs: staging
directories of the dead, work directories, cache mounts, Go modules, snapshots. Rows without their
directories mean nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Final

from wherry.errors import MachineError
from wherry.store import go_modules
from wherry.store.layout import prepare
from wherry.store.locks import try_acquire
from wherry.store.session import Session, remove_tree
from wherry.store.store import Limit, Store, open_store
from wherry.store.trash import Remover

# For the log of the database, its index, and staging names.
_ENOUGH: Final = 8 << 20


def open_to_prune(path: str, size_limit: Limit, remover: Remover | None) -> Store:
    """As `open_store`, for prune: where a full disk does not let it, some room is made first."""
    try:
        return open_store(path, size_limit, remover=remover)
    except MachineError:
        root = os.path.abspath(path)
        # It raises again for a store that is not ours to change.
        prepare(root)
        session = Session(root, time.time, lambda _point: None)
        try:
            if not relieve(session):
                raise
        finally:
            session.close()
    return open_store(path, size_limit, remover=remover)


def relieve(session: Session) -> bool:
    """Remove such things, the oldest first, until there is room; whether anything went.

    Does nothing while another session lives. Raises no error of the disk: then nothing went.
    """
    removed = False
    try:
        with session.gate(exclusive=True):
            if session.unused_before() != float("inf"):
                return False
            for path in _candidates(session):
                if _room(session.root) >= _ENOUGH:
                    break
                _remove(session.root, path)
                removed = removed or not os.path.lexists(path)
    except OSError:
        return removed
    return removed


def _candidates(session: Session) -> Iterator[str]:
    """Staging directories and all others by age."""
    yield from _held(session, "tmp", "tmp-")
    with go_modules.held_unfinished(session.root) as trees:
        yield from trees
    found = [*_held(session, "work", "work-"), *_held(session, "mounts", "mount-")]
    found += _held(session, "snapshots", "")
    found += (go_modules.path_of(session.root, name) for name in go_modules.names(session.root))
    yield from sorted(found, key=lambda path: os.lstat(path).st_mtime)


def _remove(root: str, path: str) -> None:
    if not go_modules.is_tree(root, path):
        remove_tree(path)
        return
    with go_modules.set_aside(path) as aside:
        if aside:
            remove_tree(aside)


def _held(session: Session, kind: str, lock: str) -> list[str]:
    """The directories of a kind that nobody holds; no session lives that could begin to."""
    directory, found = f"{session.root}/{kind}", []
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        if lock:
            if kind == "tmp" and session.is_own_staging(name):
                continue
            # A Go command that outlived its wherry keeps the lock of its directory.
            descriptor = try_acquire(session.lock_path(f"{lock}{name}"))
            if descriptor is None:
                continue
            os.close(descriptor)
        found.append(f"{directory}/{name}")
    return found


def _room(root: str) -> int:
    status = os.statvfs(root)
    return status.f_bavail * status.f_frsize
