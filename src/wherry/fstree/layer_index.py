# SPDX-License-Identifier: Apache-2.0
"""What a layer's tar holds, read once: entries, whiteouts and where each content lies.

With the indexes of an image's layers its tree can be known without unpacking anything
(`wherry.fstree.view`). A layer is hostile input.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import BinaryIO, Final

from wherry.errors import UsageError
from wherry.fstree.layer_changes import LayerIndex, Removal
from wherry.fstree.layer_columns import decode_index, encode_index
from wherry.fstree.limits import Bounded, Limits
from wherry.fstree.members import Member, Members
from wherry.fstree.tar import content_places
from wherry.fstree.tar_entries import EntryReader, read_entries
from wherry.fstree.tree import (
    OPAQUE,
    WHITEOUT,
    Content,
    Entry,
    File,
    HardLink,
    InLayer,
    Inline,
    Tree,
)
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor

__all__ = [
    "LayerIndex",
    "PassingIndex",
    "Removal",
    "decode_index",
    "encode_index",
    "index_of_tree",
    "read_index",
]

# Names with two marks, the opaque one apart, are bookkeeping of the old AUFS driver.
_AUFS: Final = WHITEOUT * 2
_BUFFER: Final = 1 << 18
# Read for almost every --chown and USER by name: not worth another pass over the layer.
_KEPT: Final = frozenset(("etc/passwd", "etc/group"))
_KEPT_SIZE: Final = 1 << 16


def read_index(stream: BinaryIO, blob: Descriptor, limits: Limits) -> LayerIndex:
    """Read the uncompressed tar in `stream`, which the layer `blob` holds, up to its end marker.

    Contents are hashed and become `InLayer`; empty files and the password files are kept. Raises
    `UsageError` for damage, names that lead out, or more than `limits` allow, and whatever `stream`
    raises. What follows the end marker is the caller's to read (`VerifiedDiff.finish`).
    """
    bounded = io.BufferedReader(Bounded(stream, limits, lambda: blob.size), _BUFFER)
    changes = _Changes()
    with layer_explained(blob):
        members = Members(bounded)

        def store(member: Member, pieces: Iterable[bytes]) -> Content:
            content = _Passing(member, blob)
            for piece in pieces:
                content.take(piece)
            return content.made(member)

        for entry in read_entries(members, limits, store):
            changes.add(entry)
    return changes.index()


class PassingIndex:
    """The index of the layer `blob`, made while somebody else reads its tar.

    As `read_index` would make it of the same bytes; None where it would refuse them.
    """

    def __init__(self, blob: Descriptor, limits: Limits) -> None:
        self._blob = blob
        self._limits = limits
        self._reader = EntryReader(limits)
        self._changes = _Changes()
        self._is_fit = True

    def pieces(self, member: Member, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces; once they were all taken the member is in the index."""
        content = _Passing(member, self._blob)
        for piece in pieces:
            content.take(piece)
            yield piece
        if self._is_fit:
            try:
                self._limits.check(member.offset + member.size, self._blob.size)
                entry = self._reader.entry(member, content.made)
                if entry is not None:
                    self._changes.add(entry)
            except UsageError:
                # Told by whoever needs the index.
                self._is_fit = False

    def index(self) -> LayerIndex | None:
        """The index of all members so far."""
        return self._changes.index() if self._is_fit else None


class _Changes:
    """The entries and removals of one layer, in its order."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._removals: list[tuple[int, Removal]] = []

    def add(self, entry: Entry) -> None:
        change = _change(entry)
        if isinstance(change, Removal):
            self._removals.append((len(self._entries) + len(self._removals), change))
        elif change is not None:
            self._entries.append(change)

    def index(self) -> LayerIndex:
        whiteouts = [(at, item.path) for at, item in self._removals if not item.only_below]
        opaque = [(at, item.path) for at, item in self._removals if item.only_below]
        return LayerIndex(
            tuple(self._entries),
            tuple(path for _, path in whiteouts),
            tuple(path for _, path in opaque),
            tuple(at for at, _ in (*whiteouts, *opaque)),
        )


def index_of_tree(
    tree: Tree, blob: Descriptor, mtime: int | None = None, latest: int | None = None
) -> LayerIndex:
    """The index of the layer `blob` that `write_tar` made of `tree` with the same times.

    As `read_index` would read it, without doing so. Without `mtime`, entries that say no time have
    none in the index either.
    """
    entries: list[Entry] = []
    for entry, time, offset in content_places(tree, mtime or 0, latest):
        if isinstance(entry, HardLink):
            entries.append(entry)
            continue
        seen = time if mtime is not None or entry.mtime is not None else None
        if isinstance(entry, File):
            content = entry.content
            place: Content = Inline(b"")
            if content.size:
                place = InLayer(blob.digest, blob.media_type, offset, content.size, content.digest)
            entries.append(replace(entry, content=place, mtime=seen, inode=0))
        else:
            entries.append(entry if seen == entry.mtime else replace(entry, mtime=seen))
    return LayerIndex(tuple(entries))


class _Passing:
    """Hashes a content of the layer `blob`, says where it lies, and keeps a small one."""

    def __init__(self, member: Member, blob: Descriptor) -> None:
        self._blob = blob
        self._hasher = hashlib.sha256()
        self._kept: list[bytes] | None = [] if member.size <= _KEPT_SIZE else None

    def take(self, piece: bytes) -> None:
        self._hasher.update(piece)
        if self._kept is not None:
            self._kept.append(piece)

    def made(self, member: Member) -> Content:
        """The content; the member has its normal path now."""
        if self._kept is not None and (not member.size or member.name in _KEPT):
            return Inline(b"".join(self._kept))
        digest = Digest("sha256", self._hasher.hexdigest())
        blob = self._blob
        return InLayer(blob.digest, blob.media_type, member.offset, member.size, digest)


def _change(entry: Entry) -> Entry | Removal | None:
    """The entry, or what it stands for by its name; None for AUFS's own."""
    if WHITEOUT not in entry.path:
        return entry
    parts = entry.path.split("/")
    if any(part.startswith(_AUFS) and part != OPAQUE for part in parts):
        return None
    if not parts[-1].startswith(WHITEOUT):
        return entry
    parent = entry.path.rpartition("/")[0]
    if parts[-1] == OPAQUE:
        return Removal(parent, only_below=True)
    name = parts[-1].removeprefix(WHITEOUT)
    if name in ("", ".", ".."):
        raise UsageError(f"/{entry.path} removes nothing that has a name")
    return Removal(f"{parent}/{name}" if parent else name)


@contextmanager
def layer_explained(blob: Descriptor) -> Iterator[None]:
    """Tell of a `UsageError` inside the block which layer it is about."""
    try:
        yield
    except UsageError as error:
        raise UsageError(
            f"cannot read the layer {blob.digest.short}",
            why=f"{error.what}\n{error.why}" if error.why else error.what,
            hint=error.hint or "get the image again: it is damaged, or made to do harm",
        ) from error
