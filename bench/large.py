# SPDX-License-Identifier: Apache-2.0
"""Large images whose layers do not compress, as OCI layouts."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True)
class LargeImage:
    """An OCI layout with one image; `size` is that of all its blobs."""

    layout: Path
    digest: str
    size: int


def write_image(layout: Path, sizes: Sequence[int], platform: str) -> LargeImage:
    """Writes an image with one layer for each of `sizes` (bytes), each a file of random bytes."""
    (layout / "blobs" / "sha256").mkdir(parents=True)
    layers, diff_ids = [], []
    for number, size in enumerate(sizes):
        descriptor, diff_id = _write_layer(layout, f"file-{number}", size)
        layers.append(descriptor)
        diff_ids.append(diff_id)
    system, architecture = platform.split("/")
    config = {
        "architecture": architecture,
        "os": system,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    described = _write_json(layout, _CONFIG, config)
    manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": described, "layers": layers}
    root = _write_json(layout, _MANIFEST, manifest)
    index = {"schemaVersion": 2, "manifests": [root]}
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    size = sum(item["size"] for item in (root, described, *layers))
    return LargeImage(layout, root["digest"], size)


def _write_json(layout: Path, media_type: str, value: object) -> dict[str, Any]:
    data = json.dumps(value).encode()
    hexadecimal = hashlib.sha256(data).hexdigest()
    (layout / "blobs" / "sha256" / hexadecimal).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{hexadecimal}", "size": len(data)}


def _write_layer(layout: Path, name: str, size: int) -> tuple[dict[str, Any], str]:
    staged = layout / name
    with staged.open("wb") as file:
        sink = _Gzip(file)
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, 0o644
        with tarfile.open(fileobj=cast("IO[bytes]", sink), mode="w|") as tar:
            tar.addfile(member, cast("IO[bytes]", _Noise(size)))
        sink.finish()
        length = file.tell()
    hexadecimal = sink.packed.hexdigest()
    staged.rename(layout / "blobs" / "sha256" / hexadecimal)
    descriptor = {"mediaType": _LAYER, "digest": f"sha256:{hexadecimal}", "size": length}
    return descriptor, f"sha256:{sink.plain.hexdigest()}"


class _Noise(io.RawIOBase):
    """`size` random bytes."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        data = os.urandom(min(self._left, size if size >= 0 else self._left))
        self._left -= len(data)
        return data


class _Gzip:
    """Packs what is written without trying to make it smaller, and hashes both sides."""

    def __init__(self, sink: IO[bytes]) -> None:
        self._sink = sink
        self._gzip = zlib.compressobj(0, wbits=31)
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
