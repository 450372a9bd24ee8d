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


# CLOCK_REALTIME_COARSE of Linux (include/uapi/linux/time.h), which Python's module does not name.
_COARSE = 5
_PATIENCE = 0.1  # seconds; the coarse clock ticks every 10 ms at least


def file_clock_ns() -> int:
    """What a file changed now would be stamped with, or earlier; nanoseconds since 1970."""
    # The fine clock is up to 10 ms ahead of the one that stamps files.
    return time.clock_gettime_ns(_COARSE) if sys.platform == "linux" else time.time_ns()


def next_file_clock_ns() -> int:
    """The same, once it has moved on: what changed before this was called is stamped earlier.

    Takes up to 20 ms.
    """
    # Newer kernels stamp some files by the fine clock.
    before = time.time_ns()
    # A clock that is set back must not stop anybody.
    end = time.monotonic() + _PATIENCE
    while (now := file_clock_ns()) <= before and time.monotonic() < end:
        time.sleep(0.001)
    return now


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
