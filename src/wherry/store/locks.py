# SPDX-License-Identifier: Apache-2.0
"""Locks between processes: flock(2) on files that may be deleted by the holder.

A lock belongs to an open file description: it ends when the last descriptor of it is closed, also
by SIGKILL, and children that inherit the descriptor keep it. So locks are released by closing
only; LOCK_UN would take them from the children too.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable

Check = Callable[[], None]
_LONGEST_PAUSE = 0.1


def acquire(path: str, *, shared: bool = False, check: Check | None = None) -> int:
    """Lock the file at `path` (created 0600), waiting for it; returns the descriptor to close.

    With `check` the wait is a poll that calls it each time; what it raises ends the wait.
    """
    if check is None:
        while True:
            fd = _locked(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            if fd is not None:
                return fd
    pause = 0.005
    while True:
        fd = try_acquire(path, shared=shared)
        if fd is not None:
            return fd
        check()
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def try_acquire(path: str, *, shared: bool = False) -> int | None:
    """Lock the file at `path` if that needs no waiting; the descriptor, or None."""
    return _locked(path, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def _locked(path: str, operation: int) -> int | None:
    fd = _opened(path)
    try:
        fcntl.flock(fd, operation)
        # The file may have been deleted while we waited: a lock on it would guard nothing.
        if os.fstat(fd).st_ino == os.stat(path).st_ino:
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _opened(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        return os.open(path, flags, 0o600)
