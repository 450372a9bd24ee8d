# SPDX-License-Identifier: Apache-2.0
"""Paths of the image found in its root tree, with links followed as if the tree were `/`.

For a tree that nobody else changes meanwhile. A link never leads out of the tree.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from wherry.sandbox.request import RunError

_LINKS: Final = 40
_PLACE: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# What is wrong with a path itself, rather than with the machine.
_PATHS_FAULTS: Final = (
    errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EEXIST, errno.ENAMETOOLONG, errno.ENOENT,
)  # fmt: skip


def resolve(root: str, path: str) -> str:
    """The real path, below `root`, of the image's `path`, which need not exist.

    Raises `OSError` (ELOOP) for links in a circle.
    """
    todo = list(reversed(path.split("/")))
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            done = done[:-1]
            continue
        here = "/".join((root, *done, part))
        if not os.path.islink(here):
            done.append(part)
            continue
        links += 1
        if links > _LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(here)
        if target.startswith("/"):
            done = []
        todo.extend(reversed(target.split("/")))
    return "/".join((root, *done))


@contextmanager
def told_inside(root: str, what: str, *numbers: int) -> Iterator[None]:
    """What fails in the block because of a path is a `RunError`: cannot do `what`.

    It names the path as the image has it, and never where `root` is. `numbers` are the errors
    meant, by default all that a path can be to blame for.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (numbers or _PATHS_FAULTS):
            raise
        why = os.strerror(error.errno)
        place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
        inside = place.removeprefix(root) or "/"
        # Very long names say nothing, and no other place is the user's business.
        if place.startswith(f"{root}/") and error.errno != errno.ENAMETOOLONG:
            why += f": {inside}"
        raise RunError(f"cannot {what}", why=why) from None


def read_text(root: str, path: str) -> str:
    """The text of a regular file in the image; empty where there is none."""
    return read_bytes(root, path).decode("utf-8", "replace")


def read_bytes(root: str, path: str, most: int = -1) -> bytes:
    """At most so many bytes of a regular file in the image; empty where there is none."""
    try:
        with open(_regular(resolve(root, path)), "rb") as file:
            return file.read(most)
    except OSError:
        return b""


def make_mount_point(root: str, path: str, is_directory: bool) -> str:
    """The real path of something to mount over, made where it is missing.

    What lies in a cache mount may change meanwhile: a directory that becomes a link is an error
    (`OSError`), so that nothing is ever made outside of `root`.
    """
    real = resolve(root, path)
    parts = [part for part in real.removeprefix(root).split("/") if part]
    here = os.open(root, _PLACE)
    try:
        for part in parts if is_directory else parts[:-1]:
            here = _step_into(here, part)
        if not is_directory and not _is_there(here, parts[-1]):
            os.close(os.open(parts[-1], os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, dir_fd=here))
    finally:
        os.close(here)
    return real


def _step_into(here: int, name: str) -> int:
    """Open a directory, which is made where it is missing, in place of the one that it lies in."""
    if not _is_there(here, name):
        with suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=here)
    below = os.open(name, _PLACE, dir_fd=here)
    os.close(here)
    return below


def _is_there(directory: int, name: str) -> bool:
    try:
        os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True


def find_program(root: str, name: str, search_path: str, cwd: str) -> str:
    """The real path of the program that exec would start.

    Raises `FileNotFoundError` where there is none and `PermissionError` for what is there and may
    not be executed.
    """
    if "\0" in name:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    refused = ""
    for path in _places(name, search_path, cwd):
        real = resolve(root, path)
        try:
            mode = os.stat(real).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISREG(mode) and mode & 0o111:
            return real
        refused = refused or path
    if refused:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), refused)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def _places(name: str, search_path: str, cwd: str) -> Iterator[str]:
    if "/" in name:
        yield os.path.join(cwd, name)
        return
    for directory in search_path.split(":"):
        yield os.path.join(cwd, directory, name)


def _regular(path: str) -> str:
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)
    return path
