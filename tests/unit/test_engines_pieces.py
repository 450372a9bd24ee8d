# SPDX-License-Identifier: Apache-2.0
"""Large layers of a Dockerfile's steps: compressed where they differ, the same bytes as always."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.api.building import build_images
from wherry.api.request import BuildRequest
from wherry.engines.local.results import Built
from wherry.engines.local.storage import LayerSettings, Times, store_change
from wherry.fstree import gzipped
from wherry.fstree.gzipped import BLOCK
from wherry.fstree.layer import Compression
from wherry.fstree.tree import File, Inline, make_tree
from wherry.process.cancel import CancelToken
from wherry.process.clock import next_file_clock_ns
from wherry.store.store import Store, open_store

RULES = LayerSettings(Compression(), 2, "zlib")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def compressed(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Gets one item for each block that is compressed."""
    found: list[None] = []

    class Zlib:
        def __getattr__(self, name: str) -> object:
            if name == "compressobj":
                found.append(None)
            return getattr(zlib, name)

    monkeypatch.setattr(gzipped, "zlib", Zlib())
    return found


def program(blocks: int = 40) -> bytearray:
    chance = random.Random(7)
    return bytearray(chance.randbytes(1000) * (blocks * BLOCK // 1000))


def write(store: Store, data: bytes, step: str, rules: LayerSettings = RULES) -> Built:
    tree = make_tree([File("app", Inline(bytes(data)), 0o755)])
    return store_change(store, tree, Times(0, None), rules, CancelToken(), step)


def content(store: Store, built: Built) -> bytes:
    return store.blobs.read(built.layers[0].descriptor.digest)


def test_a_step_compresses_what_its_last_layer_did_not_have(
    store: Store, compressed: list[None]
) -> None:
    data = program()
    write(store, data, "one")
    whole = len(compressed)
    assert whole >= 40
    data[5 * BLOCK] ^= 1
    compressed.clear()
    plain = write(store, data, "")
    assert len(compressed) == whole
    compressed.clear()
    changed = write(store, data, "one")
    # The block, and the next one where it lies in that one's window.
    assert 1 <= len(compressed) <= 2
    assert changed == plain
    assert content(store, changed) == content(store, plain)
    # Other steps and other compressions have nothing to do with it.
    for step, rules in (("two", RULES), ("one", RULES._replace(codec="zlib-ng"))):
        compressed.clear()
        write(store, data, step, rules)
        assert len(compressed) == whole


def test_a_copy_compresses_what_its_last_layer_did_not_have(
    tmp_path: Path, compressed: list[None]
) -> None:
    context = tmp_path / "app"
    context.mkdir()
    request = BuildRequest(".", str(context), {"PATH": ""}, str(tmp_path / "store"))

    def build(dockerfile: str, data: bytes) -> int:
        """The number of blocks that were compressed."""
        (context / "Dockerfile").write_text(dockerfile)
        (context / "big").write_bytes(data)
        next_file_clock_ns()
        compressed.clear()
        build_images(request, lambda _event: None, CancelToken())
        return len(compressed)

    text = "FROM scratch\nCOPY big /big\n"
    data = program()
    whole = build(text, data)
    assert whole >= 40
    data[5 * BLOCK] ^= 1
    assert 1 <= build(text, data) <= 2
    # Another COPY has nothing to do with it.
    data[5 * BLOCK] ^= 2
    assert build(text.replace("/big\n", "/other\n"), data) >= 40


def test_small_layers_leave_nothing(store: Store) -> None:
    write(store, b"small", "one")
    assert store.records.get("pieces/1", "one") is None


@pytest.mark.parametrize("damage", ["gone", "cut", "changed", "record", "name"])
def test_damage_costs_time_alone(store: Store, damage: str) -> None:
    data = program()
    first = write(store, data, "one").layers[0].descriptor.digest
    data[5 * BLOCK] ^= 1
    plain = write(store, data, "")
    place = Path(store.blobs.path(first))
    match damage:
        case "gone":
            place.unlink()
        case "cut":
            place.chmod(0o644)
            place.write_bytes(place.read_bytes()[:1000])
        case "changed":
            place.chmod(0o644)
            place.write_bytes(place.read_bytes()[::-1])
        case "record":
            store.records.put("pieces/1", "one", b"\xff{", ())
        case "name":
            kept = store.records.get("pieces/1", "one")
            assert kept is not None
            value = kept.replace(b'"sha256:', b'"sha2v6:')
            store.records.put("pieces/1", "one", value, ())
    again = write(store, data, "one")
    assert again == plain
    assert content(store, again) == content(store, plain)


def test_without_reuse_all_is_compressed(store: Store, compressed: list[None]) -> None:
    data = program()
    write(store, data, "one")
    whole = len(compressed)
    compressed.clear()
    write(store, data, "one", RULES._replace(reuse=False))
    assert len(compressed) == whole
