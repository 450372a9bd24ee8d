# SPDX-License-Identifier: Apache-2.0
"""The image's file tree in a directory, as buildx's `type=local` has it.

An image for several platforms gets a directory for each, such as `linux_arm64`, as in buildx. All
layers, the base's too, are unpacked into a hidden directory inside the destination; only when that
has worked do the files move to their places, by renames. What the image also has is replaced, other
files stay. Links that lie in the destination are replaced, never followed.
"""

from __future__ import annotations

import fcntl
import io
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from wherry.errors import MachineError, UsageError
from wherry.exporters.blobs import ExportedImage, VerifyingReader
from wherry.exporters.directories import make_directory, undone_on_error
from wherry.exporters.staging import explained, output_error
from wherry.fstree.removal import OpenDirectory, remove_tree
from wherry.fstree.unpack import Ownership, Skipped, unpack_blob
from wherry.oci.image import Image, Layer
from wherry.oci.media import foreign_missing
from wherry.process.cancel import CancelToken

_STAGE: Final = ".wherry-"
_STAGED: Final = re.compile(r"\.wherry-[0-9a-f]{12}")


def write_local(
    exported: ExportedImage, dest: str, cancel: CancelToken, *, split: bool = False
) -> tuple[Skipped, ...]:
    """Write the image's file tree into `dest`, which is made where it is missing.

    Files belong to the user who exports. With `split` a single platform gets a directory, too, as
    several always do. Returns what could not be made (devices). Raises
    `MachineError` where `dest` cannot be written, a directory stands where the image has a file,
    or a blob is damaged; `UsageError` for layers that cannot be unpacked, foreign ones that are
    not here or such that are not what the image says; `Cancelled`. `dest` is then as it was,
    unless a rename itself failed.
    """
    undo: list[str] = []
    with explained(dest), undone_on_error(undo):
        make_directory(os.path.abspath(dest), undo)
        with _stage(dest) as stage:
            skipped: list[Skipped] = []
            for image in exported.images:
                root = stage
                if split or exported.is_split:
                    root = os.path.join(stage, platform_directory(image))
                    os.mkdir(root, 0o755)
                for layer in image.layers:
                    skipped += _unpack(exported, layer, root, dest, cancel)
            _move_into(stage, dest)
    return tuple(skipped)


def platform_directory(image: Image) -> str:
    """The directory of one platform's files where there are several: `linux_arm_v7`."""
    return str(image.config.platform).replace("/", "_")


@contextmanager
def _stage(dest: str) -> Iterator[str]:
    """A hidden directory to unpack into, which is locked for as long as it is used."""
    _sweep(dest)
    path = os.path.join(dest, f"{_STAGE}{secrets.token_hex(6)}")
    # Under its own name only once it is locked: else another export could take it for a leftover.
    os.mkdir(f"{path}.new", 0o700)
    descriptor = os.open(f"{path}.new", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(f"{path}.new", path)
        yield path
    finally:
        with suppress(OSError):
            remove_tree(path if os.path.lexists(path) else f"{path}.new")
        os.close(descriptor)


def _sweep(dest: str) -> None:
    """Remove what exports left that were killed."""
    for name in os.listdir(dest):
        if _STAGED.fullmatch(name) is None:
            continue
        path = os.path.join(dest, name)
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(path)
            finally:
                os.close(descriptor)


def _unpack(
    exported: ExportedImage, layer: Layer, root: str, dest: str, cancel: CancelToken
) -> tuple[Skipped, ...]:
    blob = layer.descriptor
    if exported.lacks(blob):
        raise foreign_missing(blob.digest.short, blob.urls)
    with exported.blobs.open(blob.digest) as file:
        reader = VerifyingReader(file, blob)
        stream = io.BufferedReader(reader)
        try:
            skipped = unpack_blob(stream, layer, root, Ownership.IGNORE, cancel=cancel)
        except MachineError as error:
            if isinstance(error.__cause__, OSError):
                # The user knows the destination, not the layer.
                raise output_error(error.__cause__, dest) from error
            raise
        except UsageError:
            # The image is at fault only if the store has its very bytes.
            reader.finish()
            raise
        reader.finish()
    return skipped


def _move_into(stage: str, dest: str) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    source = os.open(stage, flags | os.O_NOFOLLOW)
    try:
        target = os.open(dest, flags)
        try:
            # Looked for first: a move that stops halfway is worse than none.
            _refuse_conflicts(source, target, dest)
            _merge(source, target)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _refuse_conflicts(source: int, target: int, path: str) -> None:
    """Raise where the image has a file and the destination a directory."""
    for name in _names(source):
        if _kind(name, target) != stat.S_IFDIR:
            continue
        place = os.path.join(path, os.fsdecode(name))
        if _kind(name, source) != stat.S_IFDIR:
            raise MachineError(f"cannot write {place}",
                               why="it is a directory, and the image has a file there",
                               hint="remove it, or name another directory")  # fmt: skip
        with _looked_into(source, name) as below, _looked_into(target, name) as other:
            _refuse_conflicts(below, other, place)


def _merge(source: int, target: int) -> None:
    for name in _names(source):
        if _kind(name, source) != stat.S_IFDIR:
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
            continue
        if _kind(name, target) != stat.S_IFDIR:
            # Whole, for a directory that is made here could find no room any more.
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=target)
            _move_directory(name, source, target)
            continue
        found = os.lstat(name, dir_fd=source)
        with OpenDirectory(source, name) as below, OpenDirectory(target, name) as made:
            _merge(below.descriptor, made.descriptor)
            os.fchmod(made.descriptor, stat.S_IMODE(found.st_mode))
            os.utime(made.descriptor, ns=(found.st_mtime_ns, found.st_mtime_ns))


def _move_directory(name: bytes, source: int, target: int) -> None:
    """A directory moves only where its own `..` may be written."""
    with OpenDirectory(source, name) as moved:
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
        if moved.mode is not None:
            os.fchmod(moved.descriptor, moved.mode)


@contextmanager
def _looked_into(parent: int, name: bytes) -> Iterator[int]:
    """A directory opened for reading, with the rights that it had before."""
    with OpenDirectory(parent, name) as directory:
        try:
            yield directory.descriptor
        finally:
            if directory.mode is not None:
                os.fchmod(directory.descriptor, directory.mode)


def _names(directory: int) -> list[bytes]:
    return sorted(os.fsencode(name) for name in os.listdir(directory))


def _kind(name: bytes, directory: int) -> int:
    """The file type at `name`, links not followed; 0 where nothing is."""
    try:
        return stat.S_IFMT(os.lstat(name, dir_fd=directory).st_mode)
    except FileNotFoundError:
        return 0
