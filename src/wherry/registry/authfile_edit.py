# SPDX-License-Identifier: Apache-2.0
"""Changing Docker's config.json, which other programs own too.

Only the entry that is meant changes; whatever else the file holds is written back as it was read.
The new file is staged beside the old one, never readable by others, and renamed over it; a link
stays a link. Two at once wait for each other at a lock file beside it.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from wherry.errors import MachineError
from wherry.registry.authfile import broken, read_auth_file

Content = dict[str, object]
_LOCK_SECONDS = 30.0
_PAUSE = 0.02


def edit_auth_file(path: str, change: Callable[[Content], bool]) -> bool:
    """Let `change` alter the file's content, and write it if that returns True; its answer.

    A file that is missing is taken as empty, and made. Raises `UsageError` for a file that makes
    no sense and `MachineError` where it cannot be written; what was there then stays.
    """
    target = os.path.realpath(path)
    try:
        os.makedirs(os.path.dirname(target), 0o700, exist_ok=True)
        with _locked(f"{target}.lock"):
            found = read_auth_file(target)
            content = dict(found.content) if found else {}
            if not change(content):
                return False
            _replace(target, json.dumps(content, indent="\t").encode() + b"\n")
    except OSError as error:
        raise MachineError(
            f"cannot write {path}",
            why=error.strerror or type(error).__name__,
            hint="make it a file that you may write, or name another directory in DOCKER_CONFIG",
        ) from None
    return True


def table(path: str, content: Content, name: str) -> Content:
    """A copy of the object `name` in the content, put there in its place; `UsageError`."""
    found = content.get(name)
    if found is not None and not isinstance(found, dict):
        raise broken(path, f'"{name}" is no object')
    content[name] = copy = dict(found or {})
    return copy


def _replace(target: str, data: bytes) -> None:
    staged = f"{target}.{secrets.token_hex(6)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(staged, flags, 0o600)
    try:
        with open(descriptor, "wb") as file:
            _take_over(target, descriptor)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.rename(staged, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(staged)
        raise
    directory = os.open(os.path.dirname(target), os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _take_over(target: str, descriptor: int) -> None:
    """Give the new file the old one's owner, and its mode as far as that lets nobody else in."""
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return
    new = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        # Root who logs in for a user; anybody else may not, and need not.
        with suppress(PermissionError):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode) & 0o600)


@contextmanager
def _locked(path: str) -> Iterator[None]:
    end = time.monotonic() + _LOCK_SECONDS
    while (descriptor := _try_lock(path)) is None:
        if time.monotonic() > end:
            raise MachineError(
                f"{path} stays locked",
                why=f"another process has held it for {_LOCK_SECONDS:.0f} s",
                hint="see what it is doing, and try again",
            )
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        # Whoever waits for this file finds that it is gone, and makes another.
        with suppress(OSError):
            os.unlink(path)
        os.close(descriptor)


def _try_lock(path: str) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It may have been deleted meanwhile: a lock on it would guard nothing.
        if os.fstat(descriptor).st_ino == os.stat(path).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
