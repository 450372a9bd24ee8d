# SPDX-License-Identifier: Apache-2.0
"""The store's directory: created once, recognised by its version, refused when it is not ours."""

from __future__ import annotations

import os

from wherry.errors import MachineError, UsageError
from wherry.store.errors import machine_error

VERSION = 1
# What a store begins with; snapshots/, mounts/, gocache/ and unsynced/ are made on first use, as in
# stores of earlier releases.
_DIRECTORIES = ("blobs/sha256", "work", "tmp", "locks")
_NAMES = ("version", "CACHEDIR.TAG", "blobs", "snapshots", "mounts", "gocache", "work", "tmp",
          "locks", "state.db", "unsynced", "lost+found")  # fmt: skip
_CACHEDIR_TAG = b"""Signature: 8a477f597d28d172789f06886806bc55
# This directory is the store of wherry; `wherry cache prune` makes it smaller.
"""


def prepare(root: str) -> None:
    """Make sure that `root` is a store of this version; one that exists costs two system calls.

    Raises `MachineError` for a store that is newer, another user's or not usable, `UsageError`
    for a directory that holds other things.
    """
    try:
        found = _read_version(root)
        if found is None:
            _create(root)
            return
        owner = os.stat(root).st_uid
    except OSError as error:
        raise machine_error(error, root) from error
    if found > VERSION:
        raise MachineError(f"the store at {root} was written by a newer wherry",
                           why=f"its version is {found}; this wherry knows {VERSION}",
                           hint="update wherry, or name another store with --store")  # fmt: skip
    if owner != os.geteuid():
        raise MachineError(f"the store at {root} belongs to another user",
                           why=f"its owner is user {owner}, this is user {os.geteuid()}",
                           hint="name another store with --store or WHERRY_STORE")  # fmt: skip


def _read_version(root: str) -> int | None:
    path = f"{root}/version"
    try:
        with open(path, "rb", buffering=0) as file:
            text = file.read(32)
    except FileNotFoundError:
        return None
    if not text.strip().isdigit():
        raise MachineError(f"{path} holds no version number", why=repr(text),
                           hint=f"remove {root}, or name another store with --store")  # fmt: skip
    return int(text)


def _create(root: str) -> None:
    """Several processes may do this at once: every step bears being done twice."""
    os.makedirs(os.path.dirname(root) or "/", exist_ok=True)
    try:
        os.mkdir(root, 0o700)
    except FileExistsError:
        strange = [name for name in os.listdir(root) if not name.startswith(_NAMES)]
        if strange:
            raise UsageError(f"{root} is no store of wherry",
                             why=f"it holds {sorted(strange)[0]!r}",
                             hint="name an empty or a new directory") from None  # fmt: skip
    os.chmod(root, 0o700)
    for directory in _DIRECTORIES:
        os.makedirs(f"{root}/{directory}", 0o700, exist_ok=True)
    _place(f"{root}/CACHEDIR.TAG", _CACHEDIR_TAG)
    _place(f"{root}/version", b"%d\n" % VERSION)


def _place(path: str, data: bytes) -> None:
    """Write a file that exists either whole or not at all."""
    staged = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
    fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
        os.rename(staged, path)
    except BaseException:
        os.unlink(staged)
        raise
    finally:
        os.close(fd)
