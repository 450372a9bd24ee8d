# SPDX-License-Identifier: Apache-2.0
"""What a stat call says of a file, as one text, and git's rule for times that prove nothing.

A file whose signature is unchanged is taken as unchanged, except where it was touched so shortly
before it was looked at that a second edit could leave the same time ("racily clean", git's
documentation, racy-git.txt). On the fast path: only hashlib, os, struct.
"""

from __future__ import annotations

import hashlib
import os
import struct

# Only to look up names below; macOS has no O_PATH.
_PLACE = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC


def signature(status: os.stat_result) -> str:
    """Size, modification time, change time, inode and device of a file."""
    return (
        f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
        f":{status.st_ino}:{status.st_dev}"
    )


def signature_of(path: str) -> str:
    """The signature of the file behind `path`, or the empty string where there is none."""
    try:
        return signature(os.stat(path))
    except OSError:
        return ""


def module_signature(directory: str, names: str) -> str:
    """One text for a module-cache directory and the files of these names (joined by NUL) in it.

    Empty where something cannot be read.
    """
    return module_state(directory, names)[0]


def module_state(directory: str, names: str) -> tuple[str, int]:
    """`module_signature`, and the latest change time among the directory and these files.

    The directory's own change time tells of added and removed names. Of each file the change time
    alone tells of every edit, since nobody can set it; size and inode are beside it for clocks that
    were set back. One path look-up a directory: this runs for thousands of files.
    """
    try:
        place = os.open(directory, _PLACE)
    except OSError:
        return "", 0
    stat = os.stat
    try:
        status = stat(place)
        changed = [status.st_ctime_ns]
        numbers = [status.st_ino]
        for name in names.split("\0") if names else ():
            status = stat(name, dir_fd=place)
            changed.append(status.st_ctime_ns)
            numbers += (status.st_size, status.st_ino)
        data = struct.pack(f"{len(changed) + len(numbers)}Q", *changed, *numbers)
    except (OSError, struct.error):  # the latter for a time before 1970
        return "", 0
    finally:
        os.close(place)
    return hashlib.sha256(data).hexdigest()[:32], max(changed)
