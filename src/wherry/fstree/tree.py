# SPDX-License-Identifier: Apache-2.0
"""A file tree as a frozen value: sorted entries whose paths are relative and normal.

A tree says everything that goes into a layer except times, which the layer's writer sets for all
entries at once. File contents are bytes, or a file on disk with its known digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from wherry.errors import InternalError, UsageError
from wherry.oci.canonical import Json, canonical_json
from wherry.oci.digest import Digest, sha256

# OCI image specification, layer.md, "Whiteouts": `.wh.NAME` removes NAME of the layers below.
WHITEOUT: Final = ".wh."
# The kernel keeps the all-ones id for "unchanged".
LAST_ID: Final = 2**32 - 2


@dataclass(frozen=True, slots=True)
class Inline:
    """A file's content held in memory; for small files only."""

    data: bytes

    @property
    def digest(self) -> Digest:
        """The content's digest."""
        return sha256(self.data)

    @property
    def size(self) -> int:
        """The content's length in bytes."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A file's content at `path`, which nobody changes until the tree is written."""

    path: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Unread:
    """Like `OnDisk`, for a file that is read once, when it is written: no digest is known yet."""

    path: str
    size: int

    @property
    def digest(self) -> Digest:
        """The content's digest, read from the file each time; raises `OSError`."""
        with open(self.path, "rb") as file:
            return Digest("sha256", hashlib.file_digest(file, "sha256").hexdigest())


Content = Inline | OnDisk | Unread


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory; `mode` holds permission bits and set-id and sticky bits."""

    path: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class File:
    """A regular file; `xattrs` are (name, value) pairs such as security.capability."""

    path: str
    content: Content
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Symlink:
    """A symbolic link to `target`, taken as it is."""

    path: str
    target: str
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class HardLink:
    """Another name of the file at `target`, a path of the same tree that sorts before `path`."""

    path: str
    target: str


Entry = Directory | File | Symlink | HardLink


@dataclass(frozen=True, slots=True)
class Tree:
    """Entries sorted by path, each path once; build it with `make_tree`."""

    entries: tuple[Entry, ...]

    @property
    def digest(self) -> Digest:
        """Digest of everything in the tree; contents by their digests."""
        return sha256(canonical_json([_entry_json(entry) for entry in self.entries]))

    @property
    def size(self) -> int:
        """The sum of the files' sizes in bytes, hard links counted once."""
        return sum(entry.content.size for entry in self.entries if isinstance(entry, File))


def make_tree(entries: Iterable[Entry]) -> Tree:
    """Sort entries and check them.

    Missing parent directories are added (0755, root). A path that is absolute, not normal or
    twice there raises `UsageError`; a hard link whose target is no file, or sorts after it, and
    an owner, mode or attribute that no tar holds raise `InternalError`.
    """
    by_path: dict[str, Entry] = {}
    for entry in entries:
        check_path(entry.path)
        if entry.path in by_path:
            raise UsageError(f"two files want the path /{entry.path} in the image")
        by_path[entry.path] = entry
    for path in tuple(by_path):
        for parent in _parents(path):
            found = by_path.setdefault(parent, Directory(parent))
            if not isinstance(found, Directory):
                raise UsageError(f"/{parent} in the image is a file and a directory at once")
    # Sorted by components, so that a directory stands right before what it holds.
    ordered = tuple(by_path[path] for path in sorted(by_path, key=lambda path: path.split("/")))
    _check_entries(ordered)
    return Tree(ordered)


def check_path(path: str) -> None:
    """Raise `UsageError` unless `path` can name a file in a layer.

    It must be relative, normal, free of NUL, the one spelling of its bytes, and no component may
    be a whiteout's name.
    """
    parts = path.split("/")
    if not path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise UsageError(f"not a path inside an image: {path!r}")
    if any(part.startswith(WHITEOUT) for part in parts):
        raise UsageError(
            f"an image cannot hold /{path}",
            why=f"names that begin with {WHITEOUT} mean a removed file in image layers",
            hint="rename the file",
        )
    if not path.isascii() and not _is_one_spelling(path):
        raise UsageError(f"not a path inside an image: {path!r}", why="its bytes are ambiguous")


def _is_one_spelling(path: str) -> bool:
    """Whether `path` is what decoding its own bytes gives: two such paths never share bytes."""
    try:
        return path.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == path
    except UnicodeEncodeError:
        return False


def _check_entries(entries: tuple[Entry, ...]) -> None:
    files: set[str] = set()
    for entry in entries:
        match entry:
            case File():
                files.add(entry.path)
                names = [name for name, _ in entry.xattrs]
                # A PAX record ends its key at "=", and holds each key once.
                if len(set(names)) < len(names) or any(
                    not name or "=" in name or "\0" in name for name in names
                ):
                    raise InternalError(f"/{entry.path} has attributes that no layer holds")
            case HardLink() if entry.target not in files:
                raise InternalError(f"hard link /{entry.path} has no /{entry.target} before it")
            case Symlink() if not entry.target or "\0" in entry.target:
                raise InternalError(f"/{entry.path} links to {entry.target!r}, which is no path")
        if isinstance(entry, Directory | File) and not 0 <= entry.mode <= 0o7777:
            raise InternalError(f"/{entry.path} has the mode {entry.mode:o}")
        if not isinstance(entry, HardLink) and not (
            0 <= entry.uid <= LAST_ID and 0 <= entry.gid <= LAST_ID
        ):
            raise InternalError(f"/{entry.path} belongs to {entry.uid}:{entry.gid}")


def _parents(path: str) -> Iterable[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _entry_json(entry: Entry) -> Json:
    match entry:
        case Directory():
            return ["dir", entry.path, entry.mode, entry.uid, entry.gid]
        case File():
            xattrs: list[Json] = [[name, value.hex()] for name, value in sorted(entry.xattrs)]
            owner: list[Json] = [entry.mode, entry.uid, entry.gid]
            return ["file", entry.path, *owner, str(entry.content.digest), xattrs]
        case Symlink():
            return ["symlink", entry.path, entry.target, entry.uid, entry.gid]
        case HardLink():
            return ["hardlink", entry.path, entry.target]
