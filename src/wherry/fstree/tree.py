# SPDX-License-Identifier: Apache-2.0
"""A file tree as a frozen value: sorted entries whose paths are relative and normal.

A tree says everything that goes into a layer. Times are the one thing it may leave out: the
layer's writer then sets one time for those entries. File contents are bytes, a file on disk, or a
part of a layer that has to be fetched before the tree can be written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import BinaryIO, Final, Literal, NamedTuple, Protocol

from wherry.errors import InternalError, UsageError
from wherry.oci.canonical import Json, canonical_json
from wherry.oci.digest import Digest, sha256

# OCI image specification, layer.md, "Whiteouts": `.wh.NAME` removes NAME of the layers below.
WHITEOUT: Final = ".wh."
# As above: in a directory, it removes everything that the layers below have there.
OPAQUE: Final = ".wh..wh..opq"
# The kernel keeps the all-ones id for "unchanged".
LAST_ID: Final = 2**32 - 2
# What the seven octal digits of a tar header's device fields hold; the kernel's numbers are less.
LAST_DEVICE: Final = 8**7 - 1

Xattrs = tuple[tuple[str, bytes], ...]


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


@dataclass(frozen=True, slots=True)
class Opened:
    """A content that `opener` opens for reading, each time anew.

    Its bytes are checked against `digest` (sha256) and `size` while a tar is written.
    """

    opener: Callable[[], BinaryIO] = field(compare=False, repr=False)
    size: int
    digest: Digest


class SnapshotFile(Protocol):
    """A file of a snapshot, which nobody changes."""

    def open(self) -> BinaryIO:
        """Its content, from the beginning; raises `OSError`."""

    def digest(self) -> Digest:
        """Its content's digest, read for it once; raises `OSError`."""

    def note(self, digest: Digest) -> None:
        """Take the digest that somebody found who read the content anyway."""


@dataclass(frozen=True, slots=True)
class InSnapshot:
    """A content that lies in the snapshot `name` under `path`; hashed only if it is asked for."""

    name: str
    path: str
    size: int
    file: SnapshotFile = field(compare=False, repr=False)

    @property
    def digest(self) -> Digest:
        """The content's digest; raises `OSError`."""
        return self.file.digest()


class InLayer(NamedTuple):
    """A content that lies in the layer `blob`, at `offset` of the layer's uncompressed tar.

    Not to be written: `wherry.fstree.extract` turns it into a content that is.
    """

    blob: Digest
    media_type: str
    offset: int
    size: int
    digest: Digest


Content = Inline | OnDisk | Unread | Opened | InSnapshot | InLayer


# Entries: `mtime` is in whole seconds since 1970; None stands for the time that the writer gives.
# `xattrs` are (name, value) pairs such as security.capability.


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory; `mode` holds permission bits and set-id and sticky bits."""

    path: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    xattrs: Xattrs = ()
    mtime: int | None = None


@dataclass(frozen=True, slots=True)
class File:
    """A regular file.

    In a tree that is read, files with the same `inode` (0 apart) are names of one file. It says
    nothing beyond that tree: it counts for no digest, and files that differ in it only are equal.
    """

    path: str
    content: Content
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    xattrs: Xattrs = ()
    mtime: int | None = None
    inode: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Symlink:
    """A symbolic link to `target`, taken as it is."""

    path: str
    target: str
    uid: int = 0
    gid: int = 0
    xattrs: Xattrs = ()
    mtime: int | None = None


@dataclass(frozen=True, slots=True)
class HardLink:
    """Another name of the file at `target`, a path of the same tree that sorts before `path`.

    All else is the file's; `mtime` is only what the tar's header says, by default the file's too.
    """

    path: str
    target: str
    mtime: int | None = None


@dataclass(frozen=True, slots=True)
class Special:
    """A device (with its numbers) or a named pipe."""

    path: str
    kind: Literal["char", "block", "fifo"]
    major: int = 0
    minor: int = 0
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int | None = None


Entry = Directory | File | Symlink | HardLink | Special


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


def make_tree(
    entries: Iterable[Entry], removed: Iterable[str] = (), opaque: Iterable[str] = ()
) -> Tree:
    """Sort entries and check them; `removed` are paths that the layer takes from those below.

    `opaque` are directories (empty: the root) from which it takes all that layers below have there.

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
    marks = [_mark(path) for path in removed if path not in by_path]
    marks += [File(f"{path}/{OPAQUE}" if path else OPAQUE, Inline(b""), 0) for path in opaque]
    if not marks:
        return Tree(ordered)
    return Tree(tuple(sorted((*ordered, *marks), key=lambda entry: entry.path.split("/"))))


def _mark(path: str) -> File:
    """The whiteout of `path`."""
    check_path(path)
    parent, slash, name = path.rpartition("/")
    return File(f"{parent}{slash}{WHITEOUT}{name}", Inline(b""), 0)


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
            case HardLink() if entry.target not in files:
                raise InternalError(f"hard link /{entry.path} has no /{entry.target} before it")
            case Symlink() if not entry.target or "\0" in entry.target:
                raise InternalError(f"/{entry.path} links to {entry.target!r}, which is no path")
            case Special() if not (
                0 <= entry.major <= LAST_DEVICE and 0 <= entry.minor <= LAST_DEVICE
            ):
                raise InternalError(f"/{entry.path} is the device {entry.major}:{entry.minor}")
        if isinstance(entry, HardLink):
            continue
        if not isinstance(entry, Special) and entry.xattrs:
            _check_xattrs(entry.path, entry.xattrs)
        if not isinstance(entry, Symlink) and not 0 <= entry.mode <= 0o7777:
            raise InternalError(f"/{entry.path} has the mode {entry.mode:o}")
        if not (0 <= entry.uid <= LAST_ID and 0 <= entry.gid <= LAST_ID):
            raise InternalError(f"/{entry.path} belongs to {entry.uid}:{entry.gid}")


def _check_xattrs(path: str, xattrs: Xattrs) -> None:
    names = [name for name, _ in xattrs]
    # A PAX record ends its key at "=", and holds each key once.
    if len(set(names)) < len(names) or any(
        not name or "=" in name or "\0" in name for name in names
    ):
        raise InternalError(f"/{path} has attributes that no layer holds")


def _parents(path: str) -> Iterable[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _entry_json(entry: Entry) -> Json:
    row = _facts_json(entry)
    # Only where it is said, so that trees without times keep the digests they always had.
    if entry.mtime is not None:
        row.append({"mtime": entry.mtime})
    return row


def _facts_json(entry: Entry) -> list[Json]:
    match entry:
        case Directory():
            row: list[Json] = ["dir", entry.path, entry.mode, entry.uid, entry.gid]
            return [*row, _xattrs_json(entry.xattrs)] if entry.xattrs else row
        case File():
            owner: list[Json] = [entry.mode, entry.uid, entry.gid]
            content = str(entry.content.digest)
            return ["file", entry.path, *owner, content, _xattrs_json(entry.xattrs)]
        case Symlink():
            row = ["symlink", entry.path, entry.target, entry.uid, entry.gid]
            return [*row, _xattrs_json(entry.xattrs)] if entry.xattrs else row
        case HardLink():
            return ["hardlink", entry.path, entry.target]
        case Special():
            device: list[Json] = [entry.kind, entry.major, entry.minor]
            return ["special", entry.path, *device, entry.mode, entry.uid, entry.gid]


def _xattrs_json(xattrs: Xattrs) -> Json:
    return [[name, value.hex()] for name, value in sorted(xattrs)]
