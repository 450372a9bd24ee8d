# SPDX-License-Identifier: Apache-2.0
"""The clock that stamps files, and whether a directory's file system uses this machine's.

Linux stamps files of local file systems with its coarse real-time clock, so that a change time not
before the coarse clock's reading at the start proves nothing changed since. A network file system
stamps by its server's clock, which may be behind: there no reading proves anything.
"""

from __future__ import annotations

import os
import time

_LOCAL = frozenset(
    ("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "reiserfs", "tmpfs", "xfs",
     "zfs", "jfs", "ramfs")
)  # fmt: skip


def file_clock_ns() -> int:
    """What a file changed now would be stamped with, or earlier; nanoseconds since 1970."""
    coarse = getattr(time, "CLOCK_REALTIME_COARSE", None)
    return time.clock_gettime_ns(coarse) if coarse is not None else time.time_ns()


def is_local(directory: str) -> bool:
    """Whether files below `directory` are stamped by this machine's clock; False where unclear."""
    try:
        device = os.stat(directory).st_dev
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    except OSError:
        # No /proc: macOS, whose usual file systems are local. Network volumes lie in /Volumes.
        return not os.path.abspath(directory).startswith("/Volumes/")
    wanted = f"{os.major(device)}:{os.minor(device)}"
    return any(
        fields[2] == wanted and line.partition(" - ")[2].split(" ", 1)[0] in _LOCAL
        for line in lines
        if len(fields := line.split(" ")) > 2
    )
