# SPDX-License-Identifier: Apache-2.0
"""What `wherry doctor` says about the store: room, names left, and the file system below it."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from wherry.api.checks import Check, State
from wherry.api.store_limit import StoreLimit
from wherry.errors import WherryError
from wherry.store.store import default_limit, open_store

_LITTLE_ROOM = 1 << 30
_FEW_NAMES = 20_000
_NETWORK = re.compile(
    r"(?:nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|glusterfs|lustre|beegfs|gpfs|ocfs2|gfs2"
    r"|fuse\.(?:sshfs|ceph-fuse|glusterfs|s3fs|rclone|gcsfuse|juicefs|davfs2?)|davfs)\Z"
)
# What a RUN's snapshots can be laid on as overlays.
_OVERLAID = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "bcachefs", "zfs"})
_ESCAPE = re.compile(r"\\([0-7]{3})")
_ELSEWHERE = "name a directory on a local disk with --store or WHERRY_STORE"


class StoreFinding(NamedTuple):
    """The findings, the store's size and the free room in bytes; -1 where it cannot be used."""

    checks: tuple[Check, ...]
    size: int
    free: int


def store_checks(store: str, limit: StoreLimit) -> StoreFinding:
    """Open the store at `store`, which is made where it is not there, and look around it."""
    try:
        with open_store(store) as opened:
            path, size = opened.path, opened.usage().total
            status = os.statvfs(path)
    except WherryError as error:
        return StoreFinding((no_store(error),), -1, -1)
    except OSError as error:
        why = (str(error),)
        return StoreFinding((Check("store", State.MISSING, store, why, _ELSEWHERE),), -1, -1)
    free = status.f_frsize * status.f_bavail
    most, source = _cap(path, limit)
    found = f"{path}: {_gigabytes(size)} of at most {_gigabytes(most)}, {_gigabytes(free)} free"
    details, remedies = [], []
    if source:
        details.append(f"at most: {source}")
    if free < _LITTLE_ROOM:
        details.append("there is little room")
        remedies.append("wherry cache prune, or another place with --store")
    # File systems without a fixed number of files say 0 of 0.
    if status.f_files and status.f_favail < _FEW_NAMES:
        details.append(f"room for {status.f_favail} more files only (inodes)")
        remedies.append("wherry cache prune, or a file system with more inodes")
    state = State.LIMITED if remedies else State.OK
    check = Check("store", state, found, tuple(details), "; or ".join(dict.fromkeys(remedies)))
    return StoreFinding((check, *file_system(path)), size, free)


def _cap(path: str, limit: StoreLimit) -> tuple[int, str]:
    """The size that the store may have, and the file that says so."""
    try:
        size, source = limit.found
    except WherryError:
        # What is wrong with the file is a finding of its own.
        size, source = None, ""
    return (default_limit(path), "") if size is None else (size, source)


def no_store(error: WherryError) -> Check:
    """The finding where the store cannot be used."""
    return Check("store", State.MISSING, error.what, tuple(error.why.splitlines()), error.hint)


def file_system(path: str, mountinfo: str = "/proc/self/mountinfo") -> tuple[Check, ...]:
    """The type of the file system that holds `path`; nothing where that cannot be known."""
    kind = _kind(path, mountinfo)
    if not kind:
        return ()
    if _NETWORK.match(kind):
        lines: tuple[str, ...] = (
            "RUN steps copy whole roots, and databases and locks are as good as the server's",
            "builds at the same time on several machines must not share it",
        )
        return (Check("file system", State.LIMITED, f"{kind}, a network's", lines, _ELSEWHERE),)
    if kind == "overlay":
        # A container's own root: an overlay on an overlay is refused by most kernels.
        remedy = "mount a volume there: docker run -v wherry:/root/.cache/wherry, or the like"
        lines = ("it goes with the container, and RUN steps may copy whole roots",)
        return (Check("file system", State.LIMITED, "overlay, a container's", lines, remedy),)
    if kind not in _OVERLAID:
        return (Check("file system", State.NOTE, f"{kind}: RUN steps may copy whole roots"),)
    lines = ("it is empty again after a restart",) if kind == "tmpfs" else ()
    return (Check("file system", State.NOTE if lines else State.OK, kind, lines),)


def _kind(path: str, mountinfo: str) -> str:
    """The type of the mount that holds `path` (proc(5)): the last of those that cover most."""
    try:
        with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    real = os.path.realpath(path)
    best, kind = -1, ""
    for line in lines:
        front, _, back = line.partition(" - ")
        fields = front.split(" ")
        if len(fields) < 5 or not back:
            continue
        point = _ESCAPE.sub(lambda found: chr(int(found[1], 8)), fields[4]).rstrip("/")
        if f"{real}/".startswith(f"{point}/") and len(point) >= best:
            best, kind = len(point), back.split(" ")[0]
    return kind


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
