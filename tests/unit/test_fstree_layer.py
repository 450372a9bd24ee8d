# SPDX-License-Identifier: Apache-2.0
"""Layer blobs: digests in one pass, compression, cancelling."""

from __future__ import annotations

import gzip
import io
import random
import tracemalloc
import zlib
from pathlib import Path

import pytest

from wherry.errors import BuildError, UsageError
from wherry.fstree.layer import Compression, CompressionKind, Writing, write_layer
from wherry.fstree.tree import Directory, File, Inline, OnDisk, Symlink, make_tree
from wherry.oci.digest import sha256
from wherry.oci.image import LAYER_GZIP, LAYER_TAR
from wherry.process.cancel import Cancelled, CancelToken

TREE = make_tree(
    [
        Directory("app", 0o755),
        File("app/api", Inline(b"\x7fELF" * 700_000), 0o755),
        Symlink("app/latest", "api"),
    ]
)
PLAIN = Compression(CompressionKind.UNCOMPRESSED)


def test_a_plain_layer_is_the_tar() -> None:
    out = io.BytesIO()
    layer = write_layer(TREE, out, 0, Writing(PLAIN, 2), CancelToken())
    assert layer.digest == layer.diff_id == sha256(out.getvalue())
    assert (layer.size, layer.media_type) == (len(out.getvalue()), LAYER_TAR)


def test_a_gzip_layer_names_both_digests() -> None:
    out = io.BytesIO()
    layer = write_layer(TREE, out, 0, Writing(Compression(), 2), CancelToken())
    assert layer.digest == sha256(out.getvalue())
    assert layer.diff_id == sha256(gzip.decompress(out.getvalue()))
    assert (layer.size, layer.media_type) == (len(out.getvalue()), LAYER_GZIP)


def test_the_diff_id_is_golden_and_the_time_counts() -> None:
    layer = write_layer(TREE, io.BytesIO(), 0, Writing(PLAIN, 1), CancelToken())
    assert layer.diff_id.hex == "321e529e0cf943dc8debdeeb8f3d968385c410b3f11f88445a8d61b6d77791c0"
    assert (
        write_layer(TREE, io.BytesIO(), 1, Writing(PLAIN, 1), CancelToken()).diff_id
        != layer.diff_id
    )


@pytest.mark.skipif(hasattr(zlib, "ZLIBNG_VERSION"), reason="zlib-ng deflates to other bytes")
def test_the_gzip_digest_is_golden() -> None:
    layer = write_layer(TREE, io.BytesIO(), 0, Writing(Compression(), 1), CancelToken())
    assert layer.digest.hex == "40e44269c45f79e7165af19c0cfbfbb73bcf6ae0e0424372a4003717d428bb91"


def test_the_blob_does_not_depend_on_workers_or_on_where_files_lie(tmp_path: Path) -> None:
    data = random.Random(3).randbytes(700_001) * 5
    (tmp_path / "file").write_bytes(data)
    on_disk = OnDisk(str(tmp_path / "file"), sha256(data), len(data))
    inline = make_tree([File("x", Inline(data))])
    one = write_layer(inline, io.BytesIO(), 0, Writing(Compression(), 1), CancelToken())
    for tree, workers in ((inline, 3), (make_tree([File("x", on_disk)]), 8)):
        assert (
            write_layer(tree, io.BytesIO(), 0, Writing(Compression(), workers), CancelToken())
            == one
        )


def test_levels_differ_and_wrong_ones_are_refused() -> None:
    sizes = {
        level: write_layer(
            TREE, io.BytesIO(), 0, Writing(Compression(level=level), 2), CancelToken()
        ).size
        for level in (0, 1, 9)
    }
    assert sizes[0] > sizes[1] > sizes[9]
    with pytest.raises(UsageError):
        Compression(level=10)


class CancellingSink(io.BytesIO):
    def __init__(self, cancel: CancelToken) -> None:
        super().__init__()
        self._cancel_token = cancel

    def write(self, data: bytes, /) -> int:  # type: ignore[override] # BytesIO takes any buffer
        if len(data) > 10:
            self._cancel_token.cancel()
        return super().write(data)


@pytest.mark.parametrize("compression", [PLAIN, Compression()])
def test_cancelling_stops_between_blocks(compression: Compression) -> None:
    cancel = CancelToken()
    sink = CancellingSink(cancel)
    noise = random.Random(4).randbytes(1 << 20)
    tree = make_tree([File(str(number), Inline(noise)) for number in range(40)])
    with pytest.raises(Cancelled):
        write_layer(tree, sink, 0, Writing(compression, 2), cancel)
    assert len(sink.getvalue()) < 10 << 20


def test_a_changed_file_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12")
    tree = make_tree([File("x", OnDisk(str(tmp_path / "x"), sha256(b"1"), 1))])
    with pytest.raises(BuildError):
        write_layer(tree, io.BytesIO(), 0, Writing(Compression(), 2), CancelToken())


class Nowhere:
    def write(self, data: bytes, /) -> None:
        pass


def test_memory_does_not_grow_with_the_layer(tmp_path: Path) -> None:
    size = 96 << 20
    with (tmp_path / "big").open("wb") as file:
        file.truncate(size)
    tree = make_tree([File("big", OnDisk(str(tmp_path / "big"), sha256(b""), size))])
    tracemalloc.start()
    try:
        write_layer(tree, Nowhere(), 0, Writing(Compression(), 2), CancelToken())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 24 << 20
