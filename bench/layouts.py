# SPDX-License-Identifier: Apache-2.0
"""OCI layouts written with the standard library alone: layers as tar archives, and one image."""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Layer(NamedTuple):
    """A packed layer: the digest and `size` (bytes) of its blob, the digest of the plain tar."""

    digest: str
    diff_id: str
    size: int


class Layout(NamedTuple):
    """An OCI layout with one image; `size` (bytes) is that of all its blobs."""

    path: Path
    digest: str
    size: int


@contextmanager
def layer_writer(target: Path, level: int) -> Iterator[tuple[tarfile.TarFile, list[Layer]]]:
    """A tar to be filled, packed into the file `target`; the list holds the layer afterwards."""
    written: list[Layer] = []
    with target.open("wb") as file:
        sink = _Gzip(file, level)
        with tarfile.open(fileobj=cast("IO[bytes]", sink), mode="w|") as tar:
            yield tar, written
        sink.finish()
        size = file.tell()
    digest, diff_id = (f"sha256:{one.hexdigest()}" for one in (sink.packed, sink.plain))
    written.append(Layer(digest, diff_id, size))


def blob_path(layout: Path, digest: str) -> Path:
    """Where a blob lies."""
    return layout / "blobs" / digest.replace(":", "/")


def write_layout(
    layout: Path, layers: Sequence[Layer], platform: str, config: Mapping[str, Any] | None = None
) -> Layout:
    """Writes what a layout has beside its layers, whose blobs are there or still to come.

    `config` is how containers of the image are run (Env, User, ...).
    """
    (layout / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    system, architecture = platform.split("/")
    document = {
        "architecture": architecture,
        "os": system,
        "config": config or {},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }
    described = _write_json(layout, _CONFIG, document)
    blobs = [{"mediaType": _LAYER, "digest": layer.digest, "size": layer.size} for layer in layers]
    manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": described, "layers": blobs}
    root = _write_json(layout, _MANIFEST, manifest)
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [root]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    size = sum(item["size"] for item in (root, described, *blobs))
    return Layout(layout, root["digest"], size)


def _write_json(layout: Path, media_type: str, value: object) -> dict[str, Any]:
    data = json.dumps(value).encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    blob_path(layout, digest).write_bytes(data)
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


class _Gzip:
    """Packs what is written, and hashes both sides."""

    def __init__(self, sink: IO[bytes], level: int) -> None:
        self._sink = sink
        self._gzip = zlib.compressobj(level, wbits=31)
        self.plain = hashlib.sha256()
        self.packed = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.plain.update(data)
        self._give(self._gzip.compress(data))
        return len(data)

    def finish(self) -> None:
        self._give(self._gzip.flush())

    def _give(self, data: bytes) -> None:
        self.packed.update(data)
        self._sink.write(data)
