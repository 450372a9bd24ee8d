# SPDX-License-Identifier: Apache-2.0
"""Large blobs that need not wait for the disk, because a registry has them too.

Waiting until the disk has a pulled layer takes longer than pulling it. Such a blob gets its name at
once, and before that a mark: an empty file in `unsynced/BOOT/`, where BOOT is the kernel's random
name for the time since the machine started. While that is the same, what the kernel holds in memory
is what every process reads, whether it reached the disk or not. Whoever opens the store after
another start compares each marked blob with its digest, and removes one that a power failure took
before anything can trust it; the layer is then lazy again. Marks of blobs that are on the disk by
now are removed at the end of later builds.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from contextlib import suppress
from typing import Final

from wherry.oci.digest import Digest
from wherry.store.session import Session

_BOOT_FILE: Final = "/proc/sys/kernel/random/boot_id"
_DIRECTORY: Final = "unsynced"
# Linux writes what is older than 30 seconds, looking every 5: a sync then finds nothing to do.
_SETTLED_SECONDS: Final = 45.0


def boot_name() -> str:
    """The name of the time since this machine started; empty where the system has none."""
    try:
        with open(_BOOT_FILE, encoding="ascii") as file:
            return file.read(64).strip()
    except (OSError, UnicodeDecodeError):
        return ""


class Unsynced:
    """The marks of one store; safe for threads and processes. `boot` is for tests."""

    def __init__(self, session: Session, boot: str | None = None) -> None:
        self._session = session
        self._root = f"{session.root}/{_DIRECTORY}"
        self._blobs = f"{session.root}/blobs"
        self._boot = boot
        self._mutex = threading.Lock()
        self._ready = False

    def mark(self, digest: Digest) -> bool:
        """Mark a blob that is about to get its name; False where it has to be synced instead."""
        boot = self._name()
        if not boot:
            return False
        directory = f"{self._root}/{boot}"
        with self._mutex:
            if not self._ready:
                os.makedirs(directory, 0o700, exist_ok=True)
                _sync(self._root)
                _sync(self._session.root)
                self._ready = True
        path = f"{directory}/{digest.algorithm}-{digest.hex}"
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        # The mark has to outlive a power failure that the blob's name outlives.
        _sync(directory)
        return True

    def recover(self) -> tuple[str, ...]:
        """Verify what was marked before the machine started anew; the digests that were lost.

        To be called before anything in the store is trusted. Raises `OSError`.
        """
        try:
            boots = os.listdir(self._root)
        except FileNotFoundError:
            return ()
        own = self._name()
        lost: list[str] = []
        for boot in boots:
            if boot == own:
                continue
            directory = f"{self._root}/{boot}"
            for name in os.listdir(directory):
                algorithm, _, digest = name.partition("-")
                path = f"{self._blobs}/{algorithm}/{digest}"
                with self._session.gate(exclusive=True):
                    if not _verified(path, algorithm, digest):
                        lost.append(f"{algorithm}:{digest}")
                with suppress(FileNotFoundError):
                    os.unlink(f"{directory}/{name}")
            # Another process may be doing the same.
            with suppress(FileNotFoundError):
                os.rmdir(directory)
        return tuple(lost)

    def settle(self) -> None:
        """Take the marks off blobs that the disk has by now; errors leave them on."""
        directory = f"{self._root}/{self._name()}"
        try:
            with os.scandir(directory) as entries:
                marks = [(entry.name, entry.stat().st_mtime) for entry in entries]
        except OSError:
            return
        for name, marked_at in marks:
            if time.time() - marked_at < _SETTLED_SECONDS:
                continue
            algorithm, _, digest = name.partition("-")
            with suppress(OSError):
                with suppress(FileNotFoundError):
                    _sync(f"{self._blobs}/{algorithm}/{digest}")
                os.unlink(f"{directory}/{name}")

    def _name(self) -> str:
        if self._boot is None:
            self._boot = boot_name()
        return self._boot


def _verified(path: str, algorithm: str, digest: str) -> bool:
    """Whether the blob is whole and on the disk, or not there at all; a broken one is removed."""
    try:
        with open(path, "rb") as file:
            if hashlib.file_digest(file, algorithm).hexdigest() == digest:
                os.fsync(file.fileno())
                return True
    except FileNotFoundError:
        return True
    except ValueError:
        # No such algorithm: not a mark of ours, and no blob's name.
        return True
    os.unlink(path)
    return False


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
