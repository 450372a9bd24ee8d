# SPDX-License-Identifier: Apache-2.0
"""Which entries a command used, where no action graph tells: the times of action files.

Go sets the time of an action that it uses anew where that is over an hour old. So before a command
the actions that are newer than three hours are set to three hours ago (older ones stay as they are,
since Go drops what was not used for five days); afterwards the fresh ones are those that were used.
Times in the future count as newer: Go would never renew them.

Commands that run at once on one cache share an *epoch*: the first one marks, the others come in
with its beginning, so that nobody takes another's uses back. A lost use costs speed alone.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

_MARK = 3 * 3600
# Between a mark and a use: clocks may be set a little meanwhile.
_FRESH = 2 * 3600
_LOCK_NAME = "wherry-epoch"
_POLL_SECONDS = 0.05


class Epoch(NamedTuple):
    """The beginning of what counts as used now, in seconds since 1970 by this machine's clock."""

    began: float


@contextmanager
def epoch(path: str, check: Callable[[], None]) -> Iterator[Epoch]:
    """Mark the actions of the cache at `path`, or come into the epoch of those who did.

    `check` is called while waiting and may raise. Where the cache cannot be written nothing is
    marked, and what the command used cannot be told from what others used lately.
    """
    descriptor = None
    with suppress(OSError):
        os.makedirs(path, exist_ok=True)
        descriptor = os.open(
            os.path.join(path, _LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
    if descriptor is None:
        yield Epoch(time.time())
        return
    try:
        yield _entered(path, descriptor, check)
    finally:
        os.close(descriptor)


def used(path: str, since: Epoch) -> Iterator[str]:
    """The ids of the actions of the cache at `path` that were used since then."""
    for name, entry in _actions(path):
        with suppress(OSError):
            if entry.stat(follow_symlinks=False).st_mtime > since.began - _FRESH:
                yield name[:-2]


def _entered(path: str, descriptor: int, check: Callable[[], None]) -> Epoch:
    if _locked(descriptor, fcntl.LOCK_EX):
        began = time.time()
        _mark(path, began)
        os.pwrite(descriptor, b"%020d\n" % int(began), 0)
        # Those who wait read what was written; who gets in between marks once more, no harm done.
        _locked(descriptor, fcntl.LOCK_SH)
        return Epoch(began)
    while not _locked(descriptor, fcntl.LOCK_SH):
        check()
        time.sleep(_POLL_SECONDS)
    text = os.pread(descriptor, 21, 0).strip()
    return Epoch(float(text) if text.isdigit() else time.time())


def _locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks: as if nobody else were there.
        return True
    return True


def _mark(path: str, now: float) -> None:
    marked = now - _MARK
    for _, entry in _actions(path):
        with suppress(OSError):
            if entry.stat(follow_symlinks=False).st_mtime > marked:
                os.utime(entry.path, (marked, marked), follow_symlinks=False)


def _actions(path: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    for number in range(256):
        try:
            entries = os.scandir(f"{path}/{number:02x}")
        except OSError:
            continue
        with entries:
            for entry in entries:
                if entry.name.endswith("-a") and len(entry.name) == 66:
                    yield entry.name, entry
