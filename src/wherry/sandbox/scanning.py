# SPDX-License-Identifier: Apache-2.0
"""What a slab changes, read from its snapshot: parents before what they hold, sorted by path.

In kind `overlay` the upper directory says it: whiteouts are character devices 0:0, opaque
directories have an attribute. In kind `whole` it was written down when the step had ended.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from wherry.sandbox.exchange import Scanned

CHANGES: Final = "changes"
_DEEP: Final = 100
_DEEPEST: Final = 1000
_CAPABILITY: Final = "security.capability"
_USERS: Final = "user."
_OVERLAYS: Final = "user.overlay."
_LISTS: Final = "system.posix_acl_"
_KINDS: Final = {
    stat.S_IFDIR: "directory",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
}


def scan_snapshot(snapshot: str, opaque: str) -> Iterator[Scanned]:
    """What the slab in `snapshot` changes; `opaque` is the name of overlay's attribute.

    Raises `OSError`.
    """
    try:
        file = open(os.path.join(snapshot, CHANGES), "rb")  # noqa: SIM115 - closed below
    except FileNotFoundError:
        with open_directory(os.path.join(snapshot, "fs")) as top:
            yield from _scan(top, "", opaque)
        return
    with file:
        for line in file:
            yield Scanned.parse(line)


def describe(directory: int, name: str, path: str, status: os.stat_result) -> Scanned:
    """The row for `name` in the open `directory`; its place in the slab is `path`."""
    kind = _KINDS[stat.S_IFMT(status.st_mode)]
    is_device = kind in ("char", "block")
    is_link = kind == "symlink"
    return Scanned(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime=status.st_mtime_ns // 1_000_000_000,
        size=status.st_size if kind == "file" else 0,
        inode=status.st_ino if kind != "directory" and status.st_nlink > 1 else 0,
        target=os.readlink(name, dir_fd=directory) if is_link else "",
        xattrs=attributes(directory, name),
        major=os.major(status.st_rdev) if is_device else 0,
        minor=os.minor(status.st_rdev) if is_device else 0,
    )


def attributes(directory: int, name: str) -> tuple[tuple[str, bytes], ...]:
    """The extended attributes of `name` that a layer holds, sorted.

    Those are capabilities and the user's own. Labels and sums of security modules (SELinux, IMA,
    EVM) and what is `trusted` belong to this machine; access lists stay here as with BuildKit.
    """
    return _attributes(directory, name, _is_kept)


def compared_attributes(directory: int, name: str) -> tuple[tuple[str, bytes], ...]:
    """Those whose difference is a change: access lists, too, which later steps here obey."""
    return _attributes(directory, name, lambda name: _is_kept(name) or name.startswith(_LISTS))


def _is_kept(name: str) -> bool:
    is_users = name.startswith(_USERS) and not name.startswith(_OVERLAYS)
    return is_users or name == _CAPABILITY


def _attributes(
    directory: int, name: str, is_wanted: Callable[[str], bool]
) -> tuple[tuple[str, bytes], ...]:
    path = beside(directory, name)
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return ()
    found = []
    for attribute in sorted(names):
        if is_wanted(attribute):
            # It may be listed and refused.
            with suppress(OSError):
                found.append((attribute, os.getxattr(path, attribute, follow_symlinks=False)))
    return tuple(found)


def beside(directory: int, name: str) -> str:
    """A path for calls that know no directory descriptors."""
    return f"/proc/self/fd/{directory}/{name}"


def is_whiteout(status: os.stat_result) -> bool:
    """Whether this is overlay's mark of something removed."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(directory: int, opaque: str) -> bool:
    """Whether the open overlay `directory` hides what lower ones hold."""
    try:
        return os.getxattr(directory, opaque) == b"y"
    except OSError:
        return False


@contextmanager
def open_directory(path: str, parent: int | None = None) -> Iterator[int]:
    """A directory (no link) opened for reading."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    descriptor = os.open(path, flags, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def check_depth(path: str) -> None:
    """Raise `OSError` for what is nested deeper than anybody does in earnest."""
    depth = path.count("/")
    if depth == _DEEP:
        # Each level holds open files. What steps get is settled when the worker begins.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if depth >= _DEEPEST:
        raise OSError(errno.ENAMETOOLONG, f"it is nested deeper than {_DEEPEST} directories")


def _scan(directory: int, prefix: str, opaque: str) -> Iterator[Scanned]:
    check_depth(prefix)
    for name in sorted(os.listdir(directory)):
        path = prefix + name
        status = os.lstat(name, dir_fd=directory)
        if stat.S_ISSOCK(status.st_mode):
            continue
        if is_whiteout(status):
            yield Scanned(path, "whiteout")
            continue
        row = describe(directory, name, path, status)
        if row.kind != "directory":
            yield row
            continue
        with open_directory(name, directory) as inner:
            yield row._replace(opaque=is_opaque(inner, opaque))
            yield from _scan(inner, f"{path}/", opaque)
