# SPDX-License-Identifier: Apache-2.0
"""Pieces of an earlier layer: the same bytes as without them, less work, no trust in old blobs."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from wherry.fstree import gzipped
from wherry.fstree.gzipped import BLOCK, BlockGzip
from wherry.fstree.pieces import EarlierPieces, SiblingPieces, decode_index, encode_index

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


@pytest.fixture
def deflated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each block that is compressed, and not copied."""
    calls: list[int] = []
    real = gzipped.zlib.compressobj

    def counting(*args: object, **words: object) -> object:
        calls.append(1)
        return real(*args, **words)

    monkeypatch.setattr(gzipped.zlib, "compressobj", counting)
    return calls


def test_a_changed_block_gives_the_same_bytes_as_without_pieces(
    tmp_path: Path, blocks: bytearray, deflated: list[int]
) -> None:
    earlier = earlier_pieces(tmp_path, bytes(blocks))
    blocks[2 * BLOCK + 5] ^= 1
    expected, _ = compressed(bytes(blocks))
    deflated.clear()
    with earlier:
        found, _ = compressed(bytes(blocks), earlier)
    assert found == expected
    assert len(deflated) == 1, "only the changed block is compressed"


def test_blocks_of_a_sibling_are_compressed_once(blocks: bytearray, deflated: list[int]) -> None:
    one = bytes(blocks)
    blocks[2 * BLOCK + 5] ^= 1
    two = bytes(blocks)
    expected = compressed(one)[0], compressed(two)[0]
    siblings = SiblingPieces()
    deflated.clear()
    found = tuple(compressed(data, EarlierPieces((), "", siblings))[0] for data in (one, two))
    assert found == expected
    assert len(deflated) == 6 + 1


def test_siblings_keep_the_latest_within_their_limit() -> None:
    siblings = SiblingPieces(limit=100)
    for number in range(30):
        siblings.keep(bytes([number]), bytes(10), b"digest")
    kept = [number for number in range(30) if siblings.find(bytes([number]))]
    assert kept == list(range(20, 30))
    siblings.keep(b"large", bytes(101), b"digest")
    assert siblings.find(b"large") is None
    assert siblings.find(bytes([29])) is not None


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


def index_of(*row: object) -> bytes:
    value = {"version": 1, "codec": CODEC, "blob": "sha256:x", "pieces": [row]}
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"version": 1, "codec": "zlib 1", "pieces": [[1]]}', b"\xff",
             b"[" * 100_000, index_of("aa", float("inf"), 1, "bb"), index_of("aa", 2**70, 1, "bb"),
             index_of("aa", 0, 2**40, "bb"), index_of("aa", -1, 1, "bb")],
)  # fmt: skip
def test_an_unreadable_index_has_no_pieces(data: bytes) -> None:
    assert decode_index(data, CODEC) == ((), "")


def test_an_index_of_another_codec_has_no_pieces(blocks: bytearray) -> None:
    _, writer = compressed(bytes(blocks))
    index = encode_index(tuple(writer.pieces), "zlib 2", "sha256:x")
    assert decode_index(index, CODEC) == ((), "")
