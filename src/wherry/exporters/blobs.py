# SPDX-License-Identifier: Apache-2.0
"""What exporters need of a blob store, and reading from it with the digest checked on the way.

An exported blob is what its descriptor says or the export fails: a file of the store that a disk
or a person has damaged must not be passed on under a digest that it does not have.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

from wherry.errors import MachineError
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor, Image
from wherry.oci.media import is_foreign
from wherry.oci.reference import Reference
from wherry.process.cancel import CancelToken

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PIECE = 1 << 18


class BlobSource(Protocol):
    """Bytes by digest."""

    def has(self, digest: Digest) -> bool:
        """Whether the blob is there."""

    def open(self, digest: Digest) -> BinaryIO:
        """The blob for reading, closed by the caller; raises `WherryError` if it is missing."""


@dataclass(frozen=True, slots=True)
class ExportedImage:
    """An image, where its layers' bytes come from, and the references that it goes by."""

    image: Image
    blobs: BlobSource
    references: tuple[Reference, ...] = ()

    def descriptors(self) -> tuple[Descriptor, ...]:
        """Every blob of the image once, sorted by digest; without foreign layers that are absent.

        Layouts may lack those (OCI image specification, image-layout.md): their readers look for
        them where the descriptor says.
        """
        blobs = (self.image.descriptor, self.image.manifest.config, *self.image.manifest.layers)
        once = {item.digest: item for item in blobs if not self.lacks(item)}
        return tuple(once[digest] for digest in sorted(once))

    def lacks(self, layer: Descriptor) -> bool:
        """Whether it is a foreign layer that is not here; others are missing only by a fault."""
        return is_foreign(layer.media_type) and not self.blobs.has(layer.digest)

    def copy(
        self, descriptor: Descriptor, write: Callable[[bytes], object], cancel: CancelToken
    ) -> None:
        """Give the blob's bytes to `write` piece by piece; raises `MachineError` if it is damaged.

        Manifest and config come from the image, layers from the blob source.
        """
        with self._open(descriptor.digest) as file:
            reader = VerifyingReader(file, descriptor)
            while piece := reader.read(_PIECE):
                cancel.check()
                write(piece)
            reader.finish()

    def _open(self, digest: Digest) -> BinaryIO:
        if digest == self.image.digest:
            return io.BytesIO(self.image.manifest_bytes)
        if digest == self.image.manifest.config.digest:
            return io.BytesIO(self.image.config_bytes)
        return self.blobs.open(digest)


class VerifyingReader(io.RawIOBase):
    """Reads a blob and keeps count; `finish` says whether it was what its descriptor says."""

    def __init__(self, file: BinaryIO, descriptor: Descriptor) -> None:
        super().__init__()
        self._file = file
        self._descriptor = descriptor
        self._hash = hashlib.new(descriptor.digest.algorithm)
        self._size = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer`; an end before the descriptor's size is found by `finish`."""
        view = memoryview(buffer).cast("B")
        piece = self._file.read(len(view))
        view[: len(piece)] = piece
        self._hash.update(piece)
        self._size += len(piece)
        return len(piece)

    def finish(self) -> None:
        """Read what is left; raises `MachineError` unless size and digest are the descriptor's."""
        while self.read(_PIECE):
            pass
        wanted = self._descriptor
        if (self._size, self._hash.hexdigest()) != (wanted.size, wanted.digest.hex):
            raise MachineError(
                f"the blob {wanted.digest} in the store is damaged",
                why=f"it has {self._size} bytes that do not give this digest",
                hint="build again with --no-cache, or with another store",
            )
