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
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

from wherry.errors import MachineError
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor, Image
from wherry.oci.media import is_foreign, is_index
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


class Document(NamedTuple):
    """A manifest, index or config by its descriptor, with its exact bytes."""

    descriptor: Descriptor
    data: bytes


@dataclass(frozen=True, slots=True)
class ExportedImage:
    """An image, where its layers' bytes come from, and the references that it goes by.

    `root` is the manifest, or the index of several platforms; `documents` are both, the manifests
    below an index and all configs; `images` the images of each platform, in the index's order.
    `name` is what messages call it. Made by `exported_image` and `exported_index`.
    """

    root: Descriptor
    documents: tuple[Document, ...]
    images: tuple[Image, ...]
    blobs: BlobSource
    references: tuple[Reference, ...] = ()
    name: str = ""

    @property
    def title(self) -> str:
        """What a message calls it: its name, else its first reference, else its digest."""
        if self.name:
            return self.name
        return self.references[0].familiar if self.references else self.root.digest.short

    @property
    def is_split(self) -> bool:
        """Whether it is an index, with an image for each of its platforms."""
        return is_index(self.root.media_type)

    @property
    def created(self) -> str:
        """When it was made, as its (first) config says; may be empty."""
        return self.images[0].config.created if self.images else ""

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """The layers of all platforms, each once."""
        found = (layer for image in self.images for layer in image.manifest.layers)
        return tuple({layer.digest: layer for layer in found}.values())

    def descriptors(self) -> tuple[Descriptor, ...]:
        """Every blob of the image once, sorted by digest; without foreign layers that are absent.

        Layouts may lack those (OCI image specification, image-layout.md): their readers look for
        them where the descriptor says.
        """
        blobs = (*(item.descriptor for item in self.documents), *self.layers)
        once = {item.digest: item for item in blobs if not self.lacks(item)}
        return tuple(once[digest] for digest in sorted(once))

    def lacks(self, layer: Descriptor) -> bool:
        """Whether it is a foreign layer that is not here; others are missing only by a fault."""
        return is_foreign(layer.media_type) and not self.blobs.has(layer.digest)

    def copy(
        self, descriptor: Descriptor, write: Callable[[bytes], object], cancel: CancelToken
    ) -> None:
        """Give the blob's bytes to `write` piece by piece; raises `MachineError` if it is damaged.

        Manifests and configs come from the image, layers from the blob source.
        """
        with self._open(descriptor.digest) as file:
            reader = VerifyingReader(file, descriptor)
            while piece := reader.read(_PIECE):
                cancel.check()
                write(piece)
            reader.finish()

    def _open(self, digest: Digest) -> BinaryIO:
        for document in self.documents:
            if document.descriptor.digest == digest:
                return io.BytesIO(document.data)
        return self.blobs.open(digest)


def exported_image(
    image: Image, blobs: BlobSource, references: tuple[Reference, ...] = (), name: str = ""
) -> ExportedImage:
    """The image of one platform, to be exported."""
    return ExportedImage(image.descriptor, _documents(image), (image,), blobs, references, name)


def exported_index(
    root: Document,
    images: tuple[Image, ...],
    blobs: BlobSource,
    references: tuple[Reference, ...] = (),
    name: str = "",
) -> ExportedImage:
    """The index `root`, which lists `images`, to be exported."""
    below = (document for image in images for document in _documents(image))
    return ExportedImage(root.descriptor, (root, *below), images, blobs, references, name)


def _documents(image: Image) -> tuple[Document, ...]:
    manifest = Document(image.descriptor, image.manifest_bytes)
    return manifest, Document(image.manifest.config, image.config_bytes)


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
