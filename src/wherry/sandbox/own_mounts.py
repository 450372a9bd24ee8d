# SPDX-License-Identifier: Apache-2.0
"""What a worker does to the mounts of its own namespace before anything runs in it.

For the spawned workers only: each call changes the mount namespace of the process that calls it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from wherry.sandbox import syscalls

_CGROUPS: Final = "/sys/fs/cgroup"
_KEPT: Final = (
    (os.ST_NOSUID, syscalls.MS_NOSUID),
    (os.ST_NOEXEC, syscalls.MS_NOEXEC),
    (os.ST_NODEV, syscalls.MS_NODEV),
    (os.ST_RDONLY, syscalls.MS_RDONLY),
)


def mount_proc() -> bool:
    """Mount /proc for this pid namespace; False where that is refused, as inside containers."""
    try:
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
        syscalls.mount("proc", "/proc", "proc", flags)
    except OSError:
        return False
    return True


def close_cgroups() -> None:
    """Make cgroups read-only here, so that no runtime makes one that a kill would leave behind."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        points = {line.split(" ")[4] for line in file}
    inside = (point for point in points if point == _CGROUPS or point.startswith(_CGROUPS + "/"))
    for point in sorted(inside, reverse=True):
        # A user who may not do this may not make cgroups there either.
        with suppress(OSError):
            remount(point, syscalls.MS_RDONLY)


def remount(target: str, flags: int) -> None:
    """Add `flags` to the mount at `target`, which keeps those that it has. Raises `OSError`."""
    present = os.statvfs(target).f_flag
    for bit, flag in _KEPT:
        if present & bit:
            flags |= flag
    syscalls.mount("none", target, flags=syscalls.MS_REMOUNT | syscalls.MS_BIND | flags)


def bind_tree(source: str, target: str, flags: int) -> None:
    """Bind the directory `source` alone, without the mounts below it, with `flags` added.

    Raises `OSError`; then nothing is mounted.
    """
    syscalls.mount(source, target, flags=syscalls.MS_BIND)
    try:
        remount(target, flags)
    except OSError:
        syscalls.unmount(target)
        raise
