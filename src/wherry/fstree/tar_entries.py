# SPDX-License-Identifier: Apache-2.0
"""A tar's entries as entries of a tree, in the tar's order; hostile input.

Names are taken below the root: `..` is refused, leading slashes and `.` are dropped. What no file
system holds (a name too long, a link to nothing) is refused too, so that what is read here can also
be unpacked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal

from wherry.errors import UsageError
from wherry.fstree.limits import MOST_METADATA, Limits, over
from wherry.fstree.members import (
    BLOCK_DEVICE,
    CHAR,
    DIRECTORY,
    FIFO,
    HARD_LINK,
    REGULAR,
    SYMLINK,
    Member,
    Members,
)
from wherry.fstree.tree import (
    LAST_DEVICE,
    LAST_ID,
    Content,
    Directory,
    Entry,
    File,
    HardLink,
    Special,
    Symlink,
    Xattrs,
)

# What Linux takes as a component and as a whole path or link target.
_LONGEST_NAME: Final = 255
_LONGEST_PATH: Final = 4095

Store = Callable[[Member, Iterable[bytes]], Content]

_SPECIAL: Final[dict[bytes, Literal["char", "block", "fifo"]]] = {
    CHAR: "char",
    BLOCK_DEVICE: "block",
    FIFO: "fifo",
}


def read_entries(members: Members, limits: Limits, store: Store) -> Iterator[Entry]:
    """The entries under their normal paths; the root's is empty.

    `store` gets each file's member, with its normal path as name, and content in pieces, all of
    which it reads. Entries of unknown types are left out. Raises `UsageError` for what no tree
    holds and for more than `limits` allow, and whatever `members` and `store` raise.
    """
    reader = EntryReader(limits)
    for member in members:
        entry = reader.entry(member, lambda named: store(named, members.pieces()))
        if entry is not None:
            yield entry


class EntryReader:
    """Makes entries of one tar's members, which somebody else goes through."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._count = self._metadata = 0

    def entry(self, member: Member, store: Callable[[Member], Content]) -> Entry | None:
        """The entry of the next member; `store` gives a file's content, as for `read_entries`.

        None for an unknown type. Raises `UsageError` as `read_entries`.
        """
        self._count += 1
        self._metadata += len(member.name) + len(member.link)
        for key, value in member.xattrs:
            self._metadata += len(key) + len(value)
        if self._count > self._limits.entries:
            raise over(f"it has more than {self._limits.entries} entries")
        if self._metadata > MOST_METADATA:
            raise UsageError(f"the names in the archive are more than {MOST_METADATA} bytes long")
        path = normal_path(member.name)
        if not path and member.kind != DIRECTORY:
            raise UsageError("an entry without a name is no directory")
        if not (0 <= member.uid <= LAST_ID and 0 <= member.gid <= LAST_ID):
            raise UsageError(f"/{path} belongs to {member.uid}:{member.gid}")
        if member.kind != REGULAR:
            return _entry(member, path)
        # By far the most: the rest would cost them time.
        return File(
            path,
            store(member._replace(name=path)),
            member.mode & 0o7777,
            member.uid,
            member.gid,
            _named(member.xattrs),
            member.mtime,
        )


def normal_path(name: str) -> str:
    """`name` below the root, without empty and `.` components; raises `UsageError` for `..`."""
    parts = name.split("/")
    if "" in parts or "." in parts:
        parts = [part for part in parts if part not in ("", ".")]
        name = "/".join(parts)
    if ".." in parts or "\0" in name:
        raise UsageError(f"{name!r} leads out of the image")
    # Four bytes are the most that a character has.
    if len(name) * 4 > _LONGEST_NAME:
        _check_lengths(name, parts)
    return name


def _check_lengths(name: str, parts: list[str]) -> None:
    longest = max((len(_raw(part)) for part in parts), default=0)
    if longest > _LONGEST_NAME or len(_raw(name)) > _LONGEST_PATH:
        raise UsageError(f"a name is too long: /{name[:_LONGEST_NAME]}...")


def _entry(member: Member, path: str) -> Entry | None:
    """The entry for what is no file; None for an unknown type."""
    mode, mtime = member.mode & 0o7777, member.mtime
    if member.kind == DIRECTORY:
        return Directory(path, mode, member.uid, member.gid, _named(member.xattrs), mtime)
    if member.kind == SYMLINK:
        target = member.link
        if not target or "\0" in target or len(_raw(target)) > _LONGEST_PATH:
            raise UsageError(f"/{path} is a link to {target[:_LONGEST_NAME]!r}")
        return Symlink(path, target, member.uid, member.gid, _named(member.xattrs), mtime)
    if member.kind == HARD_LINK:
        target = normal_path(member.link)
        if not target:
            raise no_such_file(path, member.link)
        return HardLink(path, target, mtime)
    if member.kind in _SPECIAL:
        major, minor = (0, 0) if member.kind == FIFO else member.device
        if not (0 <= major <= LAST_DEVICE and 0 <= minor <= LAST_DEVICE):
            raise UsageError(f"/{path} is the device {major}:{minor}, which cannot be")
        kind = _SPECIAL[member.kind]
        return Special(path, kind, major, minor, mode, member.uid, member.gid, mtime)
    return None


def no_such_file(path: str, target: str) -> UsageError:
    """The error for a hard link to nothing."""
    return UsageError(f"/{path} is a hard link to {target!r}, which is no file here")


def _named(xattrs: Xattrs) -> Xattrs:
    """Those attributes that have a name."""
    if not xattrs:
        return xattrs
    return tuple((name, value) for name, value in xattrs if name and "\0" not in name)


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
