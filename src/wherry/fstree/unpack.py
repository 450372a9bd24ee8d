# SPDX-License-Identifier: Apache-2.0
"""Applies a layer to a directory (OCI image specification, layer.md, "Applying Changesets").

The archive is hostile input. Every path is resolved inside the root (`wherry.fstree.rooted`), links
are never written through, devices are left out and reported. Modes and times of directories are
set last, so that a read-only directory can still be filled by the plain user who unpacks it.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import BinaryIO, Final, NamedTuple, TypeVar

from wherry.errors import MachineError, UsageError
from wherry.fstree.decompress import VerifiedDiff, decompressed
from wherry.fstree.layer_index import PassingIndex
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
from wherry.fstree.read_ahead import ReadAhead
from wherry.fstree.removal import OpenDirectory, remove_tree
from wherry.fstree.rooted import Path, Place, RootedTree
from wherry.fstree.tree import LAST_ID, WHITEOUT
from wherry.oci.image import Layer
from wherry.process.cancel import CancelToken

__all__ = ["Extras", "Ownership", "Skipped", "remove_tree", "unpack_blob", "unpack_layer"]

_BUFFER: Final = 1 << 18
_MARK: Final = WHITEOUT.encode()
_OPAQUE: Final = b".wh..wh..opq"
# Names with two marks, the opaque one apart, are bookkeeping of the old AUFS driver.
_AUFS: Final = _MARK * 2
# What overlayfs keeps about its directories; a layer that holds them would speak to it.
_OVERLAYS: Final = ("trusted.overlay.", "user.overlay.")
_PLACES: Final = b"/proc/self/fd/"
_NODES: Final = {
    FIFO: stat.S_IFIFO,
    CHAR: stat.S_IFCHR,
    BLOCK_DEVICE: stat.S_IFBLK,
}
_HINT: Final = "get the image again: it is damaged, or made to do harm"


class Ownership(StrEnum):
    """Whether files get the layer's owners: KEEP as root or in a user namespace, IGNORE else."""

    KEEP = "keep"
    IGNORE = "ignore"


class Skipped(NamedTuple):
    """What of a layer was left out: a path below the root, and why."""

    path: str
    why: str


class Extras(NamedTuple):
    """What is made besides: pipes, and devices where this machine lets us; the layer's index."""

    nodes: bool = False
    passing: PassingIndex | None = None


_NO_EXTRAS: Final = Extras()


def unpack_blob(
    blob: BinaryIO,
    layer: Layer,
    root: str,
    owner: Ownership,
    *,
    cancel: CancelToken | None = None,
    extras: Extras = _NO_EXTRAS,
) -> tuple[Skipped, ...]:
    """Apply a layer's blob, whatever its compression, to the directory `root`.

    As `unpack_layer`; also raises `UsageError` where the layer's media type is not known or its
    tar does not have the diff ID that the image's config names: `root` is then of no use. The blob
    is read to its end, its own digest is for the caller to check.
    """
    name = f"the layer {layer.descriptor.digest.short}"
    with _explained(name):
        tar = decompressed(blob, layer.descriptor.media_type)
        verified = VerifiedDiff(tar, layer.diff_id)
    with ReadAhead(verified, cancel) as ahead:
        stream = io.BufferedReader(ahead, _BUFFER)
        skipped = unpack_layer(stream, root, owner, name=name, cancel=cancel, extras=extras)
        with _explained(name):
            # A tar's reader stops at the archive's own end, the diff ID is that of all.
            while stream.read(_BUFFER):
                pass
    return skipped


def unpack_layer(
    stream: BinaryIO,
    root: str,
    owner: Ownership,
    *,
    name: str = "the layer",
    cancel: CancelToken | None = None,
    extras: Extras = _NO_EXTRAS,
) -> tuple[Skipped, ...]:
    """Apply the uncompressed layer tar in `stream` to the directory `root`.

    `name` stands for the layer in errors. Where nodes are made `root` should lie on a mount that
    gives devices no effect (nodev); the extras' index is complete afterwards. Raises
    `UsageError` for a tar that is damaged, cut short (the end marker counts) or tries to leave
    `root`, `MachineError` where this machine refuses, `Cancelled` between two entries; then `root`
    holds a part. Returns what was left out.
    """
    skipped: list[Skipped] = []
    with _explained(name), RootedTree(root) as tree:
        unpacking = _Unpacking(tree, owner, skipped, nodes=extras.nodes)
        members = Members(stream)
        for member in members:
            if cancel is not None:
                cancel.check()
            if extras.passing is None:
                unpacking.apply(member, members.pieces())
                continue
            content = extras.passing.pieces(member, members.pieces())
            unpacking.apply(member, content)
            # What is left out of the directory is in the index all the same.
            for _ in content:
                pass
        unpacking.finish()
    return tuple(skipped)


_Made = TypeVar("_Made")
_Attributes = tuple[tuple[str, bytes], ...]


class _Metadata(NamedTuple):
    mode: int
    uid: int
    gid: int
    mtime_ns: int


class _Unpacking:
    """One layer being applied."""

    def __init__(
        self, tree: RootedTree, owner: Ownership, skipped: list[Skipped], *, nodes: bool
    ) -> None:
        self._tree = tree
        self._owner = owner
        self._skipped = skipped
        self._nodes = nodes
        # Resolved paths that this layer wrote, with their parents: its whiteouts spare them.
        self._written: set[Path] = {()}
        self._directories: dict[Path, _Metadata] = {}
        self._attributes: dict[Path, _Attributes] = {}

    def apply(self, member: Member, content: Iterator[bytes]) -> None:
        path = _parse_path(member.name)
        if any(part.startswith(_AUFS) and part != _OPAQUE for part in path):
            return
        if not path:
            if member.kind != DIRECTORY:
                raise UsageError("an entry without a name is no directory")
            self._note_directory((), member)
        elif path[-1].startswith(_MARK):
            self._apply_whiteout(path)
        else:
            with self._tree.place(path, create=True) as place:
                self._write(member, place, content)

    def finish(self) -> None:
        """Set what had to wait, deepest first: a closed directory cannot be passed again."""
        changed = self._tree.changed
        # Those of one directory together: it stays open.
        order = sorted({*changed, *self._directories}, key=lambda path: (len(path), path))
        for path in reversed(order):
            with self._tree.directory(path) as directory:
                if (metadata := self._directories.get(path)) is not None:
                    self._set_attributes(directory, path, self._attributes.get(path, ()))
                    self._set(directory, metadata)
                else:
                    os.fchmod(directory, changed[path])

    def _write(self, member: Member, place: Place, content: Iterator[bytes]) -> None:
        if member.kind == REGULAR:
            self._make_file(member, place, content)
        elif member.kind == DIRECTORY:
            self._make_directory(member, place)
        elif member.kind == SYMLINK:
            self._make_symlink(member, place)
        elif member.kind == HARD_LINK:
            self._make_hard_link(member, place)
        elif not self._make_node(member, place):
            return
        path = place.path
        # With a path, all above it are there already.
        while path not in self._written:
            self._written.add(path)
            path = path[:-1]

    def _make_directory(self, member: Member, place: Place) -> None:
        try:
            os.mkdir(place.name, 0o700, dir_fd=place.directory)
        except FileExistsError:
            if place.kind() != stat.S_IFDIR:
                self._remove(place)
                os.mkdir(place.name, 0o700, dir_fd=place.directory)
        self._note_directory(place.path, member)

    def _note_directory(self, path: Path, member: Member) -> None:
        self._directories[path] = _metadata(member)
        if attributes := _attributes(member):
            self._attributes[path] = attributes

    def _make_file(self, member: Member, place: Place, content: Iterator[bytes]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = self._replace(
            place, lambda: os.open(place.name, flags, 0o600, dir_fd=place.directory)
        )
        try:
            for piece in content:
                _write_all(descriptor, piece)
            self._set(descriptor, _metadata(member))
            self._set_attributes(descriptor, place.path, _attributes(member))
        finally:
            os.close(descriptor)

    def _make_symlink(self, member: Member, place: Place) -> None:
        target = _encode(member.link)
        if not target or b"\0" in target:
            raise UsageError(f"/{_decode(place.path)} is a link to {member.link!r}")
        self._replace(place, lambda: os.symlink(target, place.name, dir_fd=place.directory))
        self._set_in_place(place, member)

    def _make_node(self, member: Member, place: Place) -> bool:
        """Make a pipe or device; False where that is not wanted or cannot be."""
        kind = _NODES.get(member.kind, 0)
        if not self._nodes or not kind:
            self._skip(place.path, "devices and other special files are left out")
            return False
        device = 0 if kind == stat.S_IFIFO else _device(member)
        if kind == stat.S_IFCHR and not device:
            self._skip(place.path, "the device 0:0 is overlayfs's mark of a removed file")
            return False
        self._remove(place)
        try:
            os.mknod(place.name, kind | 0o600, device, dir_fd=place.directory)
        except PermissionError:
            self._skip(place.path, "only root may make devices")
            return False
        mode = _metadata(member).mode
        if self._owner is Ownership.KEEP:
            metadata = _metadata(member)
            os.chown(place.name, metadata.uid, metadata.gid, dir_fd=place.directory,
                     follow_symlinks=False)  # fmt: skip
        os.chmod(place.name, mode, dir_fd=place.directory)
        self._set_in_place(place, member)
        return True

    def _set_in_place(self, place: Place, member: Member) -> None:
        """Owner, attributes and time of what cannot be opened."""
        metadata, at = _metadata(member), place.directory
        if self._owner is Ownership.KEEP:
            os.chown(place.name, metadata.uid, metadata.gid, dir_fd=at, follow_symlinks=False)
        if attributes := _attributes(member):
            name = _PLACES + b"%d/" % at + place.name
            self._set_attributes(name, place.path, attributes)
        times = (metadata.mtime_ns, metadata.mtime_ns)
        os.utime(place.name, ns=times, dir_fd=at, follow_symlinks=False)

    def _make_hard_link(self, member: Member, place: Place) -> None:
        path = _parse_path(member.link)
        missing = UsageError(
            f"/{_decode(place.path)} is a hard link to {member.link!r}, which is no file here"
        )
        if not path:
            raise missing
        try:
            with self._tree.place(path, create=False) as target:
                if target.kind() in (0, stat.S_IFDIR):
                    raise missing
                if target.path == place.path:
                    return
                self._replace(
                    place,
                    lambda: os.link(target.name, place.name, src_dir_fd=target.directory,
                                    dst_dir_fd=place.directory, follow_symlinks=False),
                )  # fmt: skip
        except FileNotFoundError as error:
            raise missing from error

    def _apply_whiteout(self, path: Path) -> None:
        try:
            with self._tree.place(path, create=False) as place:
                if place.name == _OPAQUE:
                    self._clear(place.directory, place.parents)
                    return
                hidden = place._replace(name=place.name.removeprefix(_MARK))
                if hidden.name in (b"", b".", b".."):
                    raise UsageError(f"/{_decode(place.path)} removes nothing that has a name")
                self._hide(hidden)
        except FileNotFoundError:
            return  # nothing there to hide

    def _hide(self, place: Place) -> None:
        """Remove what lower layers put at `place`; keep what this layer did."""
        if place.path not in self._written:
            self._remove(place)
        elif place.kind() == stat.S_IFDIR:
            with OpenDirectory(place.directory, place.name) as directory:
                self._clear(directory.descriptor, place.path)

    def _clear(self, directory: int, path: Path) -> None:
        for name in os.listdir(directory):
            self._hide(Place(directory, path, os.fsencode(name)))

    def _replace(self, place: Place, make: Callable[[], _Made]) -> _Made:
        """`make` what refuses to be where something is, without what was there."""
        try:
            return make()
        except FileExistsError:
            self._remove(place)
            return make()

    def _remove(self, place: Place) -> None:
        if place.kind() == stat.S_IFDIR:
            below = len(place.path)
            for known in (self._directories, self._attributes):
                for path in [path for path in known if path[:below] == place.path]:
                    del known[path]
            if place.path in self._written:
                self._written = {path for path in self._written if path[:below] != place.path}
        self._tree.remove(place)

    def _set(self, descriptor: int, metadata: _Metadata) -> None:
        # The owner first: changing it takes the set-id bits away.
        if self._owner is Ownership.KEEP:
            os.chown(descriptor, metadata.uid, metadata.gid)
        os.fchmod(descriptor, metadata.mode)
        os.utime(descriptor, ns=(metadata.mtime_ns, metadata.mtime_ns))

    def _set_attributes(self, target: int | bytes, path: Path, attributes: _Attributes) -> None:
        for name, value in attributes:
            try:
                # A descriptor is what it is; by name only a link can be meant.
                if isinstance(target, int):
                    os.setxattr(target, _encode(name), value)
                else:
                    os.setxattr(target, _encode(name), value, follow_symlinks=False)
            except (OSError, ValueError, AttributeError) as error:
                # No such attributes here, no right to set them, or no name for one.
                self._skip(path, f"attribute {name!r}: {error}")

    def _skip(self, path: Path, why: str) -> None:
        self._skipped.append(Skipped(_decode(path), why))


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        why = f"{error.what}\n{error.why}" if error.why else error.what
        hint = error.hint or _HINT
        raise UsageError(f"cannot unpack {name}", why=why, hint=hint) from error
    except (zlib.error, EOFError) as error:
        why = f"the archive is damaged or cut short: {error}"
        raise UsageError(f"cannot unpack {name}", why=why, hint=_HINT) from error
    except OSError as error:
        # Decompressors raise OSError without a number for damaged input.
        if error.errno in (None, errno.ENAMETOOLONG):
            raise UsageError(f"cannot unpack {name}", why=str(error), hint=_HINT) from error
        hint = "check the rights and the free space of the directory it goes to"
        if error.errno == errno.EINVAL:
            # What chown(2) says of ids that a user namespace lacks.
            hint = "its files may belong to ids that do not exist here: see `wherry doctor`"
        raise MachineError(f"cannot unpack {name}", why=_reason(error), hint=hint) from error


def _reason(error: OSError) -> str:
    if isinstance(error.filename, bytes):
        return f"{error.strerror}: {_decode((error.filename,))}"
    return error.strerror or str(error)


def _parse_path(name: str) -> Path:
    path = tuple(part for part in _encode(name).split(b"/") if part not in (b"", b"."))
    if b".." in path or b"\0" in _encode(name):
        raise UsageError(f"{name!r} leads out of the image")
    return path


def _metadata(member: Member) -> _Metadata:
    if not (0 <= member.uid <= LAST_ID and 0 <= member.gid <= LAST_ID):
        raise UsageError(f"/{member.name} belongs to {member.uid}:{member.gid}")
    mtime_ns = member.mtime * 1_000_000_000 + member.nanoseconds
    return _Metadata(member.mode & 0o7777, member.uid, member.gid, mtime_ns)


def _attributes(member: Member) -> _Attributes:
    return tuple(pair for pair in member.xattrs if not pair[0].startswith(_OVERLAYS))


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def _device(member: Member) -> int:
    try:
        return os.makedev(*member.device)
    except (OverflowError, ValueError):
        raise UsageError(f"/{member.name} is a device that cannot be") from None


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _decode(path: Path) -> str:
    return b"/".join(path).decode("utf-8", "surrogateescape")
