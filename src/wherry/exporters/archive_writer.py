# SPDX-License-Identifier: Apache-2.0
"""Archives of blobs: tars whose entries carry one time, no owner and fixed modes.

Entries are sorted by name: one image gives one file, whoever writes it and when. Bytes stream
through; memory does not grow with the image.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable
from typing import NamedTuple

from wherry.exporters.blobs import ExportedImage
from wherry.oci.image import Descriptor
from wherry.process.cancel import CancelToken

Write = Callable[[bytes], object]

_BLOCK, _RECORD = 512, 10240


class HeldBlob(NamedTuple):
    """A blob, and the image that can open it."""

    descriptor: Descriptor
    image: ExportedImage


def held_blobs(images: Iterable[ExportedImage]) -> tuple[HeldBlob, ...]:
    """Every blob of these images once, sorted by digest."""
    found = {item.digest: HeldBlob(item, image) for image in images for item in image.descriptors()}
    return tuple(found[digest] for digest in sorted(found))


def blob_path(descriptor: Descriptor) -> str:
    """Where a layout has a blob (OCI image specification, image-layout.md, "Blobs")."""
    return f"blobs/{descriptor.digest.algorithm}/{descriptor.digest.hex}"


def write_archive(
    blobs: tuple[HeldBlob, ...],
    files: dict[str, bytes],
    write: Write,
    cancel: CancelToken,
    mtime: int = 0,
) -> None:
    """Write a tar of `blobs`, and of `files` by name, which all sort after `blobs/`.

    Raises `MachineError` for a blob that is damaged, `Cancelled`, and what `write` raises.
    """
    archive = _Archive(write, mtime)
    archive.add_directory("blobs")
    for algorithm in sorted({held.descriptor.digest.algorithm for held in blobs}):
        archive.add_directory(f"blobs/{algorithm}")
    for held in blobs:
        archive.begin_file(blob_path(held.descriptor), held.descriptor.size)
        held.image.copy(held.descriptor, archive.write, cancel)
    for name in sorted(files):
        archive.begin_file(name, len(files[name]))
        archive.write(files[name])
    archive.finish()


class _Archive:
    """A tar of directories and files, written in order."""

    def __init__(self, write: Write, mtime: int) -> None:
        self._write = write
        self._mtime = mtime
        self._size = 0

    def write(self, data: bytes) -> None:
        self._write(data)
        self._size += len(data)

    def add_directory(self, path: str) -> None:
        self._begin(path, tarfile.DIRTYPE, 0o755, 0)

    def begin_file(self, path: str, size: int) -> None:
        """Begin a file; its `size` bytes follow through `write`."""
        self._begin(path, tarfile.REGTYPE, 0o644, size)

    def finish(self) -> None:
        self._pad(_BLOCK)
        self.write(bytes(2 * _BLOCK))
        self._pad(_RECORD)

    def _begin(self, path: str, kind: bytes, mode: int, size: int) -> None:
        self._pad(_BLOCK)
        info = tarfile.TarInfo(path)
        info.type, info.mode, info.size, info.mtime = kind, mode, size, self._mtime
        self.write(info.tobuf(tarfile.PAX_FORMAT))

    def _pad(self, unit: int) -> None:
        self.write(bytes(-self._size % unit))
