# SPDX-License-Identifier: Apache-2.0
"""Large images whose layers do not compress, as OCI layouts."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

from bench.layouts import Layer, Layout, blob_path, layer_writer, write_layout


def write_image(layout: Path, sizes: Sequence[int], platform: str) -> Layout:
    """Writes an image with one layer for each of `sizes` (bytes), each a file of random bytes."""
    (layout / "blobs" / "sha256").mkdir(parents=True)
    layers = [_write_layer(layout, f"file-{number}", size) for number, size in enumerate(sizes)]
    return write_layout(layout, layers, platform)


def _write_layer(layout: Path, name: str, size: int) -> Layer:
    staged = layout / name
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    with layer_writer(staged, level=0) as (tar, written):
        tar.addfile(member, cast("IO[bytes]", _Noise(size)))
    (layer,) = written
    staged.rename(blob_path(layout, layer.digest))
    return layer


class _Noise(io.RawIOBase):
    """`size` random bytes."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        data = os.urandom(min(self._left, size if size >= 0 else self._left))
        self._left -= len(data)
        return data
