# SPDX-License-Identifier: Apache-2.0
"""Images of every kind that registries hold, as bytes: what tests put into a registry.

The compressed bytes depend on zlib and zstd; everything else is the same in every run.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import zstandard

from registry_state import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, digest_of

OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"

Descriptor = dict[str, object]


class Sample(NamedTuple):
    """A manifest or index with all it needs: `blobs` of its own, `children` for an index."""

    media_type: str
    data: bytes
    blobs: tuple[bytes, ...] = ()
    children: tuple[Sample, ...] = ()
    platform: str = ""

    @property
    def digest(self) -> str:
        return digest_of(self.data)

    @property
    def document(self) -> dict[str, object]:
        return dict(json.loads(self.data))

    @property
    def descriptor(self) -> Descriptor:
        return descriptor(self.media_type, self.data)


def descriptor(media_type: str, data: bytes, **more: object) -> Descriptor:
    """A descriptor of the bytes."""
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **more}


def layer(files: Mapping[str, bytes | str] | None = None, *, size: int = 0) -> bytes:
    """A layer's tar with these files; `size` adds a file of so many bytes that do not compress."""
    content = {name: _bytes(value) for name, value in (files or {}).items()}
    if size:
        content["filling"] = noise(size)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in sorted(content.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that look random and are the same each time."""
    import random

    return random.Random(seed).randbytes(size)


def config(
    layers: Sequence[bytes],
    *,
    platform: str = "linux/amd64",
    settings: Mapping[str, object] | None = None,
) -> bytes:
    """An image configuration; `settings` (Env, User, Entrypoint, ...) go into its `config`."""
    os_name, architecture, *variant = platform.split("/")
    document: dict[str, object] = {
        "created": "2024-05-06T07:08:09Z",
        "architecture": architecture,
        "os": os_name,
        "config": {"Env": ["PATH=/usr/bin:/bin"], **(settings or {})},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(one) for one in layers]},
        "history": [{"created_by": f"layer {at}"} for at, _ in enumerate(layers)],
    }
    if variant:
        document["variant"] = variant[0]
    return json.dumps(document).encode()


def compressed(data: bytes, compression: str) -> bytes:
    """The layer's bytes as they are shipped: "gzip", "zstd" or "none"."""
    if compression == "gzip":
        return gzip.compress(data, 1, mtime=0)
    if compression == "zstd":
        return zstandard.ZstdCompressor(level=1).compress(data)
    return data


def image(
    layers: Sequence[bytes] = (),
    *,
    platform: str = "linux/amd64",
    docker_media_types: bool = False,
    compression: str = "gzip",
    settings: Mapping[str, object] | None = None,
    foreign: Sequence[bytes] = (),
    more: Mapping[str, object] | None = None,
) -> Sample:
    """An image of these layers' tars.

    `foreign`: layers that the manifest names by URL, below the others; their bytes are not among
    the sample's blobs. `more`: further fields of the manifest (annotations, subject, ...).
    """
    base = DOCKER_LAYER if docker_media_types else OCI_LAYER
    suffix = {"gzip": "gzip", "zstd": "zstd", "none": ""}[compression]
    joint = "." if docker_media_types else "+"
    media_type = f"{base}{joint}{suffix}" if suffix else base
    shipped = [compressed(one, compression) for one in layers]
    described = [
        descriptor(
            DOCKER_FOREIGN if docker_media_types else OCI_FOREIGN,
            compressed(one, "gzip"),
            urls=["https://layers.invalid/foreign"],
        )
        for one in foreign
    ]
    described += [descriptor(media_type, one) for one in shipped]
    settled = config([*foreign, *layers], platform=platform, settings=settings)
    kind = DOCKER_MANIFEST if docker_media_types else OCI_MANIFEST
    document = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": descriptor(DOCKER_CONFIG if docker_media_types else OCI_CONFIG, settled),
        "layers": described,
        **(more or {}),
    }
    return Sample(kind, json.dumps(document).encode(), (settled, *shipped), (), platform)


def index(
    images: Sequence[Sample],
    *,
    docker_media_types: bool = False,
    more: Mapping[str, object] | None = None,
) -> Sample:
    """A list of images by their platforms; images without one (attestations) are `unknown`."""
    entries = []
    for one in images:
        os_name, architecture, *variant = (one.platform or "unknown/unknown").split("/")
        place = {"os": os_name, "architecture": architecture}
        if variant:
            place["variant"] = variant[0]
        entries.append({**one.descriptor, "platform": place})
    kind = DOCKER_LIST if docker_media_types else OCI_INDEX
    document = {"schemaVersion": 2, "mediaType": kind, "manifests": entries, **(more or {})}
    return Sample(kind, json.dumps(document).encode(), (), tuple(images))


def artifact(
    artifact_type: str,
    files: Sequence[bytes] = (b"content",),
    *,
    media_type: str = "application/octet-stream",
    subject: Sample | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Sample:
    """An artifact with the empty configuration, perhaps about another manifest."""
    empty = b"{}"
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": descriptor("application/vnd.oci.empty.v1+json", empty),
        "layers": [descriptor(media_type, data) for data in files],
    }
    if subject is not None:
        document["subject"] = subject.descriptor
    if annotations:
        document["annotations"] = dict(annotations)
    return Sample(OCI_MANIFEST, json.dumps(document).encode(), (empty, *files))


def schema1(name: str = "team/app", tag: str = "old") -> Sample:
    """A manifest of Docker's schema 1, with a signature that nobody checks."""
    document = {
        "schemaVersion": 1,
        "name": name,
        "tag": tag,
        "architecture": "amd64",
        "fsLayers": [{"blobSum": digest_of(b"layer")}],
        "history": [{"v1Compatibility": json.dumps({"id": "0" * 64, "os": "linux"})}],
        "signatures": [{"header": {}, "signature": "AAAA", "protected": "AAAA"}],
    }
    return Sample(SCHEMA1, json.dumps(document, indent=3).encode())


def write_layout(sample: Sample, directory: Path, tag: str = "1") -> Path:
    """Write an OCI image layout that holds the sample under a tag; gives the directory."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for data in _all(sample):
        (blobs / digest_of(data).partition(":")[2]).write_bytes(data)
    named = {**sample.descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}}
    listed = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [named]}
    (directory / "index.json").write_text(json.dumps(listed))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return directory


def write_dir(sample: Sample, directory: Path) -> Path:
    """Write a directory for skopeo's `dir:`, which takes every media type as it is."""
    directory.mkdir(parents=True)
    (directory / "version").write_text("Directory Transport Version: 1.1\n")
    (directory / "manifest.json").write_bytes(sample.data)
    for child in sample.children:
        name = child.digest.partition(":")[2]
        (directory / f"{name}.manifest.json").write_bytes(child.data)
    for data in _all(sample):
        (directory / digest_of(data).partition(":")[2]).write_bytes(data)
    return directory


def _all(sample: Sample) -> Iterator[bytes]:
    yield sample.data
    yield from sample.blobs
    for child in sample.children:
        yield from _all(child)


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value
