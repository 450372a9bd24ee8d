# SPDX-License-Identifier: Apache-2.0
"""A small image with two layers, and a blob source that holds its layers in memory."""

from __future__ import annotations

import gzip
import io
from typing import BinaryIO

from wherry.exporters.blobs import Document, ExportedImage, exported_image, exported_index
from wherry.fstree.tar import write_tar
from wherry.fstree.tree import Directory, File, Inline, Symlink, Tree, make_tree
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import (
    INDEX,
    LAYER_GZIP,
    LAYER_TAR,
    Descriptor,
    Image,
    ImageConfig,
    Index,
    Layer,
    RunConfig,
    make_image,
    pairs,
)
from wherry.oci.platform import Platform
from wherry.oci.reference import parse_reference

CREATED = "1970-01-01T00:00:00Z"


class MemoryBlobs:
    """Blobs by digest."""

    def __init__(self) -> None:
        self.data: dict[Digest, bytes] = {}

    def has(self, digest: Digest) -> bool:
        return digest in self.data

    def open(self, digest: Digest) -> BinaryIO:
        return io.BytesIO(self.data[digest])


def make_layer(blobs: MemoryBlobs, tree: Tree, media_type: str) -> Layer:
    buffer = io.BytesIO()
    write_tar(tree, buffer.write, 0)
    data = buffer.getvalue()
    diff_id = sha256(data)
    if media_type == LAYER_GZIP:
        data = gzip.compress(data, mtime=0)
    blobs.data[sha256(data)] = data
    return Layer(Descriptor(media_type, sha256(data), len(data)), diff_id)


def sample_trees(binary: bytes = b"\x7fELF binary") -> tuple[Tree, Tree]:
    base = make_tree(
        [
            Directory("root", 0o700),
            Directory("tmp", 0o1777),
            Directory("closed", 0o555),
            File("closed/file", Inline(b"shut in\n")),
            File("etc/passwd", Inline(b"root:x:0:0::/root:/sbin/nologin\n")),
            Symlink("etc/mtab", "/proc/mounts"),
        ]
    )
    return base, make_tree([File("app/movies", Inline(binary), 0o755)])


def sample_export(binary: bytes = b"\x7fELF binary", *names: str) -> ExportedImage:
    blobs = MemoryBlobs()
    base, app = sample_trees(binary)
    layers = (
        make_layer(blobs, base, LAYER_GZIP),
        make_layer(blobs, app, LAYER_TAR),
    )
    run = RunConfig(user="65532:65532", env=("PATH=/app",), entrypoint=("/app/movies",))
    config = ImageConfig(Platform("linux", "amd64"), CREATED, run, (), ())
    image: Image = make_image(layers, config, pairs({"org.example.note": "sample"}))
    return exported_image(image, blobs, tuple(parse_reference(name) for name in names), "movies")


def sample_index(*names: str) -> ExportedImage:
    """The sample for two platforms: one base, two programs."""
    blobs = MemoryBlobs()
    base, _ = sample_trees()
    lowest = make_layer(blobs, base, LAYER_GZIP)
    images = []
    for platform in (Platform("linux", "amd64"), Platform("linux", "arm", "v7")):
        program = sample_trees(f"program for {platform}".encode())[1]
        layers = (lowest, make_layer(blobs, program, LAYER_GZIP))
        config = ImageConfig(platform, CREATED, RunConfig(entrypoint=("/app/movies",)), (), ())
        images.append(make_image(layers, config))
    data = Index(tuple(image.descriptor for image in images)).encoded()
    root = Document(Descriptor(INDEX, sha256(data), len(data)), data)
    references = tuple(parse_reference(name) for name in names)
    return exported_index(root, tuple(images), blobs, references, "movies")
