# SPDX-License-Identifier: Apache-2.0
"""How much room the store takes, as the file system counts it (allocated blocks).

Of a snapshot the size is what was counted when it was made, for its content may be unreadable to
the plain user; of cache mounts it is what can be seen. Go modules that are being restored or
removed count with what is staged in tmp/.
"""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Final, NamedTuple

from wherry.store import go_modules
from wherry.store.database import Database
from wherry.store.locks import try_acquire
from wherry.store.mounts import allocation_lock, mount_lock
from wherry.store.numbered import name_of, numbers_in
from wherry.store.unsynced import boot_name

_BLOCK = 512
# The time of last use of what somebody holds: no session's hour is after it.
IN_USE: Final = float("inf")


class Kind(StrEnum):
    """What the store consists of, besides records."""

    BLOB = "blob"
    SNAPSHOT = "snapshot"
    MOUNT = "cache mount"
    MODULES = "Go modules"
    WORK = "work directory"


class Usage(NamedTuple):
    """Bytes on disk by kind.

    `mounts` are cache mounts, `modules` Go modules that travelled here and listings of modules,
    `records` is state.db with its logs.
    """

    blobs: int
    snapshots: int
    mounts: int
    modules: int
    work: int
    tmp: int
    records: int

    @property
    def total(self) -> int:
        """All kinds together."""
        kept = self.blobs + self.snapshots + self.mounts + self.modules
        return kept + self.work + self.tmp + self.records


class Item(NamedTuple):
    """One thing of a kind: its name there, bytes on disk, and time of last use.

    That time is infinite for what somebody holds. `key` is what a snapshot or cache mount is known
    by; without one it is `garbage`, as is a snapshot that a power failure may have damaged.
    """

    kind: Kind
    name: str
    size: int
    used_at: float
    key: str = ""
    garbage: bool = False


class Items(NamedTuple):
    """Everything in the store that can be removed one by one, and the room that it takes."""

    blobs: tuple[Item, ...]
    snapshots: tuple[Item, ...]
    mounts: tuple[Item, ...]
    modules: tuple[Item, ...]
    work: tuple[Item, ...]
    usage: Usage

    @property
    def all(self) -> tuple[Item, ...]:
        """All of them, kind by kind."""
        return self.blobs + self.snapshots + self.mounts + self.modules + self.work


def surveyed(root: str, database: Database) -> Items:
    """Look at everything in the store."""
    blobs, snapshots = _blob_items(root), _snapshot_items(root, database)
    mounts, modules, work = _mount_items(root, database), _module_items(root), _work_items(root)
    tmp = (os.path.join(root, "tmp"), *go_modules.unfinished(root))
    usage = Usage(
        blobs=_total(blobs),
        snapshots=_total(snapshots),
        mounts=_total(mounts),
        modules=_total(modules),
        work=_total(work),
        tmp=sum(tree_size(path) for path in tmp),
        records=sum(_file_size(f"{root}/state.db{suffix}") for suffix in ("", "-wal", "-shm")),
    )
    return Items(blobs, snapshots, mounts, modules, work, usage)


def tree_size(path: str) -> int:
    """Bytes on disk of everything below `path`; what vanishes meanwhile counts nothing."""
    size = 0
    for directory, _, files in os.walk(path):
        size += sum(_file_size(f"{directory}/{name}") for name in files)
    return size


def _total(items: tuple[Item, ...]) -> int:
    return sum(item.size for item in items)


def _blob_items(root: str) -> tuple[Item, ...]:
    items = []
    for algorithm in _names(f"{root}/blobs"):
        for name in _names(f"{root}/blobs/{algorithm}"):
            status = _status(f"{root}/blobs/{algorithm}/{name}")
            if status is not None:
                size = status.st_blocks * _BLOCK
                items.append(Item(Kind.BLOB, f"{algorithm}:{name}", size, status.st_mtime))
    return tuple(items)


def _snapshot_items(root: str, database: Database) -> tuple[Item, ...]:
    """Directories with and without a row; a row without a directory is garbage too."""
    # Directories first: one that is made meanwhile has its row then.
    there, boot, items = numbers_in(f"{root}/snapshots"), boot_name(), []
    rows = {int(str(row[0])): row
            for row in database.rows("SELECT id, key, size, boot FROM snapshots")}  # fmt: skip
    for number in sorted({*rows, *there}):
        path = f"{root}/snapshots/{name_of(number)}"
        status, row = _status(path), rows.get(number)
        used_at = status.st_mtime if status is not None else 0.0
        if row is None:
            items.append(Item(Kind.SNAPSHOT, name_of(number), tree_size(path), used_at, "", True))
            continue
        size = int(str(row[2])) if status is not None else 0
        garbage = status is None or row[3] not in ("", boot)
        items.append(Item(Kind.SNAPSHOT, name_of(number), size, used_at, str(row[1]), garbage))
    return tuple(items)


def _mount_items(root: str, database: Database) -> tuple[Item, ...]:
    there, items = numbers_in(f"{root}/mounts"), []
    rows = {int(str(row[0])): str(row[1]) for row in database.rows("SELECT id, key FROM mounts")}
    for number in sorted({*rows, *there}):
        path, key = f"{root}/mounts/{name_of(number)}", rows.get(number, "")
        lock = f"{root}/locks/{mount_lock(number)}"
        status = _status(lock) or _status(path)
        guard = f"{root}/locks/{allocation_lock(key)}" if number in rows else ""
        used_at = status.st_mtime if status is not None else 0.0
        if _is_held(lock, guard):
            used_at = IN_USE
        item = Item(Kind.MOUNT, name_of(number), tree_size(path), used_at, key, number not in rows)
        items.append(item)
    return tuple(items)


def _module_items(root: str) -> tuple[Item, ...]:
    items = []
    for name in go_modules.names(root):
        path = go_modules.path_of(root, name)
        status = _status(path)
        if status is not None:
            is_used = name != go_modules.LISTINGS and go_modules.is_used(path)
            used_at = IN_USE if is_used else status.st_mtime
            items.append(Item(Kind.MODULES, name, tree_size(path), used_at))
    return tuple(items)


def _work_items(root: str) -> tuple[Item, ...]:
    items = []
    for name in _names(f"{root}/work"):
        path, lock = f"{root}/work/{name}", f"{root}/locks/work-{name}"
        status = _status(lock) or _status(path)
        if status is not None:
            used_at = IN_USE if _is_held(lock) else status.st_mtime
            items.append(Item(Kind.WORK, name, tree_size(path), used_at))
    return tuple(items)


def _is_held(lock: str, guard: str = "") -> bool:
    """Whether somebody holds `lock`; asked under `guard`, so that the question disturbs nobody."""
    if _status(lock) is None:
        return False
    fd = try_acquire(guard) if guard else -1
    if fd is None:
        # Somebody is about to hold one of that name.
        return True
    try:
        held = try_acquire(lock)
        if held is not None:
            os.close(held)
        return held is None
    finally:
        if fd >= 0:
            os.unlink(guard)
            os.close(fd)


def _names(path: str) -> tuple[str, ...]:
    try:
        return tuple(sorted(os.listdir(path)))
    except (FileNotFoundError, NotADirectoryError):
        return ()


def _file_size(path: str) -> int:
    status = _status(path)
    return 0 if status is None else status.st_blocks * _BLOCK


def _status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None
