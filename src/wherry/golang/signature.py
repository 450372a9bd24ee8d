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
    try:
        status = os.stat(directory)
        newest = status.st_ctime_ns
        signatures = [signature(status)]
        with os.scandir(directory) as entries:
            found = sorted((entry.name, entry) for entry in entries)
        for name, entry in found:
            if entry.is_dir(follow_symlinks=False):
                continue
            status = entry.stat(follow_symlinks=True)
            newest = max(newest, status.st_ctime_ns)
            names.append(name)
            signatures.append(signature(status))
    except OSError:
        return "", "", 0
    return "\0".join(names), "\n".join(signatures), newest


def current_signature(directory: str, names: str) -> str:
    """Signatures as `directory_signature` gives them, for the names it found then."""
    prefix = directory + "/"
    stat = os.stat
    try:
        signatures = [signature(stat(directory))]
        signatures += [signature(stat(prefix + name)) for name in names.split("\0") if name]
    except OSError:
        return ""
    return "\n".join(signatures)
