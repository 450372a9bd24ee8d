# SPDX-License-Identifier: Apache-2.0
"""What a stat call says of a file, as one text, and git's rule for times that prove nothing.

A file whose signature is unchanged is taken as unchanged, except where it was touched so shortly
before it was looked at that a second edit could leave the same time ("racily clean", git's
documentation, racy-git.txt). On the fast path: no imports but os.
"""

from __future__ import annotations

import os

# One-second file systems round down: an edit within two seconds may show the same time.
RACY_NS = 2_000_000_000
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


def directory_signature(directory: str) -> tuple[str, str, int]:
    """Names and signatures of the plain files of a module-cache directory, and the newest ctime.

    Both are texts; the directory's own signature comes first: an added or removed name changes
    it. All empty where the directory cannot be read.
    """
    names: list[str] = []
    newest = 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    names.append(entry.name)
                    newest = max(newest, entry.stat().st_ctime_ns)
    except OSError:
        return "", "", 0
    joined = "\0".join(sorted(names))
    return joined, current_signature(directory, joined), newest


def current_signature(directory: str, names: str) -> str:
    """Signatures as `directory_signature` gives them, for the names it found then.

    The change time alone tells of every edit, since nobody can set it; size and inode are beside
    it for clocks that were set back. One path look-up a directory: this runs for many files.
    """
    try:
        place = os.open(directory, _PLACE)
    except OSError:
        return ""
    stat = os.stat
    try:
        status = stat(place)
        signatures = [f"{status.st_size}:{status.st_ctime_ns}:{status.st_ino}"]
        for name in names.split("\0") if names else ():
            status = stat(name, dir_fd=place)
            signatures.append(f"{status.st_size}:{status.st_ctime_ns}:{status.st_ino}")
    except OSError:
        return ""
    finally:
        os.close(place)
    return "\n".join(signatures)
