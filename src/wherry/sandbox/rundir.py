# SPDX-License-Identifier: Apache-2.0
"""The directory of one run, and those that killed runs left.

    <directory>/run-XXXXXXXX/     rootfs/, config.json and the runtime's state of one run
    <locks>/tmp-run-XXXXXXXX      flock(2), held by wherry and the worker while either lives

The lock comes first and is deleted last, as everywhere in the store's tmp/: whoever sees the
directory can tell whether somebody is at work in it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from wherry.errors import MachineError
from wherry.fstree.removal import remove_tree

_PREFIX = "run-"


class Workplace(NamedTuple):
    """Where runs live: their directories and their locks, both of the user alone."""

    directory: str
    locks: str


class RunDirectory(NamedTuple):
    """An empty directory and the descriptor of the lock that guards it."""

    path: str
    lock: int


@contextmanager
def run_directory(place: Workplace) -> Iterator[RunDirectory]:
    """A directory for one run, gone after the block but for what only a mapped user may remove."""
    name = f"{_PREFIX}{os.urandom(4).hex()}"
    path, lock = os.path.join(place.directory, name), _lock_path(place, name)
    try:
        for directory in place:
            os.makedirs(directory, 0o700, exist_ok=True)
        descriptor = _try_lock(lock)
        os.mkdir(path, 0o700)
    except OSError as error:
        raise MachineError(
            "cannot make a directory for the run",
            why=str(error),
            hint="check the rights and the free space there, or name another store with --store",
        ) from error
    try:
        yield RunDirectory(path, descriptor)
    finally:
        _remove(path, lock)
        os.close(descriptor)


@contextmanager
def leftovers(place: Workplace) -> Iterator[tuple[str, ...]]:
    """Directories of runs that were killed, locked by us inside the block; removed after it.

    Those in a mapping's ids can be removed by a worker in that mapping only: it does so inside
    the block, and what it cannot remove stays for another run.
    """
    found: list[tuple[str, str, int]] = []
    for name in sorted(_names(place)):
        lock = _lock_path(place, name)
        with suppress(OSError):
            descriptor = _try_lock(lock)
            found.append((os.path.join(place.directory, name), lock, descriptor))
    try:
        yield tuple(path for path, _, _ in found)
    finally:
        for path, lock, descriptor in found:
            _remove(path, lock)
            os.close(descriptor)


def _names(place: Workplace) -> set[str]:
    # A lock may be all that is left, where the worker could still remove the directory.
    locked = (name.removeprefix("tmp-") for name in _list(place.locks) if name.startswith("tmp-"))
    return {name for name in (*_list(place.directory), *locked) if name.startswith(_PREFIX)}


def _list(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _remove(path: str, lock: str) -> None:
    with suppress(OSError):
        remove_tree(path)
        os.unlink(lock)


def _lock_path(place: Workplace, name: str) -> str:
    return os.path.join(place.locks, f"tmp-{name}")


def _try_lock(path: str) -> int:
    """Lock without waiting; raises `OSError` where somebody holds it or deleted it meanwhile."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _check_same(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_same(descriptor: int, path: str) -> None:
    if os.fstat(descriptor).st_ino != os.stat(path).st_ino:
        raise FileNotFoundError(path)
