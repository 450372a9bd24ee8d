# SPDX-License-Identifier: Apache-2.0
"""Images whose layers are compressed in another way: same files, same config, another digest.

What was converted once stays in the store, found by the layer's diff ID, so that the next output of
this kind costs a look. The bytes are those that the build itself would have written.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from wherry.api.lazy import fetch_missing
from wherry.api.naming import cores
from wherry.api.recorded import codec
from wherry.api.registries import Registries
from wherry.api.transfer import transfer
from wherry.errors import UsageError
from wherry.exporters.blobs import Document, ExportedImage, VerifyingReader, exported_index
from wherry.exporters.spec import Recompression
from wherry.fstree.compression import Compression, CompressionKind
from wherry.fstree.decompress import VerifiedDiff, decompressed
from wherry.fstree.gzipped import BlockGzip
from wherry.fstree.zstd_writer import ZstdWriter, library
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import Descriptor, Image, Layer, parse_index
from wherry.oci.media import compression_of, is_foreign
from wherry.store.store import Store

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_KIND: Final = "converted/1"
_PIECE: Final = 1 << 20

Choose = Callable[[Layer], Compression | None]
"""How a layer is to be compressed; None leaves it as it is."""


def chosen(wanted: Recompression, base: frozenset[Digest]) -> Choose:
    """What an output's `compression=` means for each layer; `base` are those of base images."""

    def choose(layer: Layer) -> Compression | None:
        blob = layer.descriptor
        if is_foreign(blob.media_type) or (blob.digest in base and not wanted.force):
            return None
        is_so = blob.media_type == wanted.compression.media_type
        return None if is_so and not wanted.is_level_said else wanted.compression

    return choose


def without_zstd(layer: Layer) -> Compression | None:
    """For readers that do not know zstd: gzip instead."""
    blob = layer.descriptor
    is_zstd = not is_foreign(blob.media_type) and compression_of(blob.media_type) == "zstd"
    return Compression() if is_zstd else None


def as_it_is(_layer: Layer) -> None:
    """Every layer stays."""


def converted(
    exported: ExportedImage, choose: Choose, store: Store, registries: Registries
) -> ExportedImage:
    """The image with its layers as `choose` says; itself where none changes.

    Its manifests and layers are in the store then. Raises `NetworkError` where a layer of the base
    has to be fetched and cannot be, `MachineError` for a damaged or full store, `Cancelled`.
    """
    wanted = {
        layer.descriptor.digest: (layer, compression)
        for image in exported.images
        for layer in image.layers
        if (compression := choose(layer)) is not None
    }
    if not wanted:
        return exported
    fetch_missing(store, (layer for layer, _ in wanted.values()), registries)
    made = {
        digest: _layer(layer, compression, exported, store, registries)
        for digest, (layer, compression) in wanted.items()
    }
    images = tuple(_with_layers(image, made) for image in exported.images)
    documents = [Document(image.descriptor, image.manifest_bytes) for image in images]
    if exported.is_split:
        result = _with_images(exported, images)
        documents.append(result.documents[0])
    else:
        config = exported.documents[1]
        result = replace(
            exported, root=images[0].descriptor, documents=(documents[0], config), images=images
        )
    for document in documents:
        store.blobs.put(document.data)
    return result


def _with_layers(image: Image, made: dict[Digest, Descriptor]) -> Image:
    layers = tuple(made.get(layer.digest, layer) for layer in image.manifest.layers)
    manifest = replace(image.manifest, layers=layers)
    return replace(image, manifest=manifest, manifest_bytes=manifest.encoded())


def _with_images(exported: ExportedImage, images: tuple[Image, ...]) -> ExportedImage:
    now = {
        before.digest: after.descriptor
        for before, after in zip(exported.images, images, strict=True)
    }
    index = parse_index(exported.documents[0].data)
    listed = tuple(
        replace(item, digest=now[item.digest].digest, size=now[item.digest].size)
        if item.digest in now
        else item
        for item in index.manifests
    )
    data = replace(index, manifests=listed).encoded()
    root = Document(replace(exported.root, digest=sha256(data), size=len(data)), data)
    return exported_index(root, images, exported.blobs, exported.references, exported.name)


def _layer(
    layer: Layer,
    compression: Compression,
    exported: ExportedImage,
    store: Store,
    registries: Registries,
) -> Descriptor:
    """The layer's descriptor with its blob compressed anew, or found."""
    key = _key(layer, compression)
    known = store.records.get(_KIND, key)
    if known is not None:
        hexadecimal, size = json.loads(known)
        digest = Digest("sha256", hexadecimal)
        if store.blobs.has(digest, size):
            return _described(layer, compression, digest, size)
    around = registries.around
    blob = layer.descriptor
    name = f"compress layer {blob.digest.short} of {exported.title} with {compression.kind}"
    if compression.kind is CompressionKind.UNCOMPRESSED:
        name = f"decompress layer {blob.digest.short} of {exported.title}"
    with (
        transfer(around.sink, name, blob.size) as moving,
        store.blobs.open(blob.digest) as file,
        store.blobs.writer() as writer,
    ):
        reader = VerifyingReader(file, blob)
        sink = _Hashed(writer.write)
        try:
            tar = VerifiedDiff(
                decompressed(io.BufferedReader(_Watched(reader, moving)), blob.media_type),
                layer.diff_id,
                around.cancel,
            )
            with _compressing(compression, sink.write) as write:
                while piece := tar.read(_PIECE):
                    write(piece)
        except UsageError as error:
            # The image is at fault only if the store has its very bytes.
            reader.finish()
            raise UsageError(f"cannot convert the layer {blob.digest.short}",
                             why=error.what, hint=error.hint) from error  # fmt: skip
        reader.finish()
        digest, size = Digest("sha256", sink.hash.hexdigest()), sink.size
        writer.commit(digest, size)
        moving.remark = f"{blob.size / 1e6:.1f} MB to {size / 1e6:.1f} MB"
    store.records.put(_KIND, key, json.dumps([digest.hex, size]).encode(), (digest,))
    return _described(layer, compression, digest, size)


def _described(layer: Layer, compression: Compression, digest: Digest, size: int) -> Descriptor:
    return Descriptor(compression.media_type, digest, size, layer.descriptor.annotations)


def _key(layer: Layer, compression: Compression) -> str:
    """What the bytes depend on."""
    words = [str(layer.diff_id), compression.kind.value]
    match compression.kind:
        case CompressionKind.GZIP:
            words += [str(compression.level), codec()]
        case CompressionKind.ZSTD:
            words += [str(compression.level), library()]
    return " ".join(words)


@contextmanager
def _compressing(
    compression: Compression, out: Callable[[bytes], object]
) -> Iterator[Callable[[bytes], object]]:
    match compression.kind:
        case CompressionKind.UNCOMPRESSED:
            yield out
        case CompressionKind.GZIP:
            with BlockGzip(out, level=compression.level, workers=cores()) as gzip:
                yield gzip.write
        case CompressionKind.ZSTD:
            with ZstdWriter(out, level=compression.level, workers=cores()) as zstd:
                yield zstd.write


class _Hashed:
    """Digest and size of what goes through to `out`."""

    def __init__(self, out: Callable[[bytes], object]) -> None:
        self._out = out
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self.hash.update(data)
        self.size += len(data)
        self._out(data)


class _Watched(io.RawIOBase):
    """Tells how many bytes were read of `reader`."""

    def __init__(self, reader: io.RawIOBase, moved: Callable[[int], None]) -> None:
        super().__init__()
        self._reader = reader
        self._moved = moved

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        piece = self._reader.read(len(view)) or b""
        view[: len(piece)] = piece
        self._moved(len(piece))
        return len(piece)
