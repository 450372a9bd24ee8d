# SPDX-License-Identifier: Apache-2.0
"""Work directories: a place that stays the same from build to build, held by one at a time.

The lock's descriptor is for handing to children: while one of them lives, the directory is held,
also when wherry itself was killed. The time of last use is the lock file's mtime.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from wherry.errors import InternalError
from wherry.store.errors import machine_error
from wherry.store.locks import acquire
from wherry.store.session import Session

_LONGEST_NAME = 200


class WorkDir(NamedTuple):
    """A directory that is this build's alone; `fd` is its lock, for `Command.keep_fds`."""

    path: str
    fd: int


@contextmanager
def held_work(session: Session, key: str, check: Callable[[], None] | None) -> Iterator[WorkDir]:
    """Hold work/`key`, created 0700 if need be; `check` is called while waiting."""
    with held_lock(session, f"work-{key}", check) as fd:
        path = f"{session.root}/work/{key}"
        try:
            os.makedirs(path, 0o700, exist_ok=True)
            os.utime(fd, (session.now(), session.now()))
        except OSError as error:
            raise machine_error(error, path) from error
        session.trace("work-held")
        yield WorkDir(path, fd)


@contextmanager
def held_lock(session: Session, name: str, check: Callable[[], None] | None) -> Iterator[int]:
    """Hold locks/`name` alone, waiting for it; `check` is called while waiting."""
    if "/" in name or "\0" in name or len(name) > _LONGEST_NAME:
        raise InternalError(f"not a lock's name: {name!r}")
    path = session.lock_path(name)
    try:
        fd = acquire(path, check=check)
    except OSError as error:
        raise machine_error(error, path) from error
    try:
        yield fd
    finally:
        os.close(fd)
