# SPDX-License-Identifier: Apache-2.0
"""Pieces of an earlier layer: the same bytes as without them, less work, no trust in old blobs."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from wherry.fstree import gzipped
from wherry.fstree.gzipped import BLOCK, BlockGzip
from wherry.fstree.pieces import EarlierPieces, decode_index, encode_index

CODEC = "zlib 1"


def compressed(data: bytes, earlier: EarlierPieces | None = None) -> tuple[bytes, BlockGzip]:
    out: list[bytes] = []
    with BlockGzip(out.append, earlier=earlier) as writer:
        writer.write(data)
    return b"".join(out), writer


@pytest.fixture
def blocks() -> bytearray:
    return bytearray(random.Random(7).randbytes(5 * BLOCK + 1234))


def earlier_pieces(tmp_path: Path, data: bytes) -> EarlierPieces:
    blob, writer = compressed(data)
    path = tmp_path / "blob"
    path.write_bytes(blob)
    pieces, name = decode_index(encode_index(tuple(writer.pieces), CODEC, "sha256:x"), CODEC)
    assert name == "sha256:x"
    return EarlierPieces(pieces, str(path))


def test_a_changed_block_gives_the_same_bytes_as_without_pieces(
    tmp_path: Path, blocks: bytearray, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = earlier_pieces(tmp_path, bytes(blocks))
    blocks[2 * BLOCK + 5] ^= 1
    expected, _ = compressed(bytes(blocks))
    calls: list[int] = []
    real = gzipped.zlib.compressobj

    def counting(*args: object, **words: object) -> object:
        calls.append(1)
        return real(*args, **words)

    monkeypatch.setattr(gzipped.zlib, "compressobj", counting)
    with earlier:
        found, _ = compressed(bytes(blocks), earlier)
    assert found == expected
    assert len(calls) == 1, "only the changed block is compressed"


def test_a_block_whose_window_changed_is_compressed_again(
    tmp_path: Path, blocks: bytearray
) -> None:
    earlier = earlier_pieces(tmp_path, bytes(blocks))
    blocks[2 * BLOCK - 1] ^= 1
    with earlier:
        assert compressed(bytes(blocks), earlier)[0] == compressed(bytes(blocks))[0]


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_blob_costs_speed_only(tmp_path: Path, blocks: bytearray, damage: str) -> None:
    data = bytes(blocks)
    expected, _ = compressed(data)
    earlier_pieces(tmp_path, data).close()
    path = tmp_path / "blob"
    blob = bytearray(path.read_bytes())
    if damage == "flip":
        blob[len(blob) // 2] ^= 1
        path.write_bytes(blob)
    elif damage == "cut":
        path.write_bytes(blob[: len(blob) // 3])
    _, writer = compressed(data)
    if damage == "gone":
        path.unlink()
    with EarlierPieces(tuple(writer.pieces), str(path)) as earlier:
        assert compressed(data, earlier)[0] == expected


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"version": 1, "codec": "zlib 1", "pieces": [[1]]}', b"\xff"]
)
def test_an_unreadable_index_has_no_pieces(data: bytes) -> None:
    assert decode_index(data, CODEC) == ((), "")


def test_an_index_of_another_codec_has_no_pieces(blocks: bytearray) -> None:
    _, writer = compressed(bytes(blocks))
    index = encode_index(tuple(writer.pieces), "zlib 2", "sha256:x")
    assert decode_index(index, CODEC) == ((), "")
