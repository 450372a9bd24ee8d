# SPDX-License-Identifier: Apache-2.0
"""The clock that stamps files, and whether a directory's file system uses this machine's.

Linux stamps files of local file systems with its coarse real-time clock, so that a change time not
before the coarse clock's reading at the start proves nothing changed since. A network file system
stamps by its server's clock, which may be behind: there no reading proves anything.
"""

from __future__ import annotations

import os
import sys
import time
from typing import NamedTuple

# One-second file systems round down: an edit within two seconds may show the same time.
RACY_NS = 2_000_000_000
_LOCAL = frozenset(
    ("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "reiserfs", "tmpfs", "xfs",
     "zfs", "jfs", "ramfs")
)  # fmt: skip


def file_clock_ns() -> int:
    """What a file changed now would be stamped with, or earlier; nanoseconds since 1970."""
    coarse = getattr(time, "CLOCK_REALTIME_COARSE", None)
    return time.clock_gettime_ns(coarse) if coarse is not None else time.time_ns()


def is_local(directory: str) -> bool:
    """Whether files in `directory` are stamped by this machine's clock; False where unclear."""
    if sys.platform == "darwin":
        # Its usual file systems are local, and network volumes lie in /Volumes.
        return not os.path.realpath(directory).startswith("/Volumes/")
    try:
        device = os.stat(directory).st_dev
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            mounts = [_mount(line) for line in file]
    except OSError:
        return False
    wanted = f"{os.major(device)}:{os.minor(device)}"
    types = {mount.type for mount in mounts if mount.device == wanted}
    # A subvolume of btrfs has a device number of its own: there the mount point tells.
    return bool((types or _types_above(directory, mounts)) & _LOCAL)


class _Mount(NamedTuple):
    device: str
    point: str
    type: str


def _mount(line: str) -> _Mount:
    """A line of /proc/self/mountinfo (its format: proc(5))."""
    front, _, back = line.partition(" - ")
    fields = [*front.split(" "), "", "", "", "", ""]
    return _Mount(fields[2], fields[4].replace("\\040", " "), back.split(" ", 1)[0])


def _types_above(directory: str, mounts: list[_Mount]) -> set[str]:
    """The type of the mount that holds `directory`, if it is one with device numbers of its own."""
    real = os.path.realpath(directory)
    above = [mount for mount in mounts if f"{real}/".startswith(f"{mount.point.rstrip('/')}/")]
    nearest = max(above, key=lambda mount: len(mount.point), default=None)
    return {nearest.type} if nearest is not None and nearest.type == "btrfs" else set()
