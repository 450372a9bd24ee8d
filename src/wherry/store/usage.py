# SPDX-License-Identifier: Apache-2.0
"""How much room the store takes, as the file system counts it (allocated blocks)."""

from __future__ import annotations

import os
from typing import NamedTuple

_BLOCK = 512


class Usage(NamedTuple):
    """Bytes on disk by kind; `records` is state.db with its logs."""

    blobs: int
    work: int
    tmp: int
    records: int

    @property
    def total(self) -> int:
        """All kinds together."""
        return self.blobs + self.work + self.tmp + self.records


class Item(NamedTuple):
    """A blob, work directory or staging directory: its name, bytes on disk, time of last use."""

    name: str
    size: int
    used_at: float


def measured(root: str) -> Usage:
    """The store's usage now."""
    return Usage(
        sum(item.size for item in blob_items(root)),
        sum(item.size for item in work_items(root)),
        tree_size(os.path.join(root, "tmp")),
        sum(_file_size(f"{root}/state.db{suffix}") for suffix in ("", "-wal", "-shm")),
    )


def blob_items(root: str) -> tuple[Item, ...]:
    """Every blob, named as its digest is."""
    items = []
    for algorithm in _names(f"{root}/blobs"):
        for name in _names(f"{root}/blobs/{algorithm}"):
            status = _status(f"{root}/blobs/{algorithm}/{name}")
            if status is not None:
                size = status.st_blocks * _BLOCK
                items.append(Item(f"{algorithm}:{name}", size, status.st_mtime))
    return tuple(items)


def work_items(root: str) -> tuple[Item, ...]:
    """Every work directory."""
    items = []
    for name in _names(f"{root}/work"):
        path = f"{root}/work/{name}"
        status = _status(f"{root}/locks/work-{name}") or _status(path)
        if status is not None:
            items.append(Item(name, tree_size(path), status.st_mtime))
    return tuple(items)


def tree_size(path: str) -> int:
    """Bytes on disk of everything below `path`; what vanishes meanwhile counts nothing."""
    size = 0
    for directory, _, files in os.walk(path):
        size += sum(_file_size(f"{directory}/{name}") for name in files)
    return size


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
