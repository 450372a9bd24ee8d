# SPDX-License-Identifier: Apache-2.0
"""An OCI image layout as one tar (OCI image specification, image-layout.md).

Entries are sorted and carry one time, no owner and fixed modes: one image, one file. Bytes stream
through; memory does not grow with the image.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from typing import BinaryIO

from wherry.errors import UsageError
from wherry.exporters.blobs import ExportedImage
from wherry.exporters.names import index_entries
from wherry.exporters.staging import explained, staged_file
from wherry.oci.canonical import Json, canonical_json
from wherry.oci.image import INDEX
from wherry.process.cancel import CancelToken

LAYOUT_FILE = canonical_json({"imageLayoutVersion": "1.0.0"})
_BLOCK, _RECORD = 512, 10240


def write_oci_archive(exported: ExportedImage, dest: str, mtime: int, cancel: CancelToken) -> None:
    """Write the archive to the file `dest`, whole or not at all.

    Raises `MachineError` where `dest` cannot be written or a blob is damaged, `UsageError` where
    it is a directory, `Cancelled`.
    """
    with staged_file(dest) as file:
        _write(exported, file.write, mtime, cancel)


def stream_oci_archive(
    exported: ExportedImage, stream: BinaryIO, mtime: int, cancel: CancelToken
) -> None:
    """Write the archive to stdout or its like; an error leaves a part there.

    Raises `UsageError` where the stream is a terminal, otherwise like `write_oci_archive`.
    """
    if stream.isatty():
        raise UsageError("an archive does not go to a terminal",
                         hint="name a file with dest=FILE, or send stdout to one")  # fmt: skip
    with explained("the archive to stdout"):
        _write(exported, stream.write, mtime, cancel)
        stream.flush()


def index_json(entries: list[dict[str, Json]]) -> bytes:
    """An `index.json` with `entries`."""
    return canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [*entries]})


def _write(
    exported: ExportedImage, write: Callable[[bytes], object], mtime: int, cancel: CancelToken
) -> None:
    archive = _Archive(write, mtime)
    descriptors = exported.descriptors()
    archive.add_directory("blobs")
    for algorithm in sorted({descriptor.digest.algorithm for descriptor in descriptors}):
        archive.add_directory(f"blobs/{algorithm}")
    for descriptor in descriptors:
        digest = descriptor.digest
        archive.begin_file(f"blobs/{digest.algorithm}/{digest.hex}", descriptor.size)
        exported.copy(descriptor, archive.write, cancel)
    for name, data in (
        ("index.json", index_json(index_entries(exported.image, exported.references))),
        ("oci-layout", LAYOUT_FILE),
    ):
        archive.begin_file(name, len(data))
        archive.write(data)
    archive.finish()


class _Archive:
    """A tar of directories and files, written in order."""

    def __init__(self, write: Callable[[bytes], object], mtime: int) -> None:
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
