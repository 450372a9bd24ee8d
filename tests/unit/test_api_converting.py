# SPDX-License-Identifier: Apache-2.0
"""`compression=` of an output: which layers are converted, and to what."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from exporter_samples import MemoryBlobs, sample_export, sample_index
from wherry.api.converting import Choose, chosen, converted, without_zstd
from wherry.api.registries import RegistryAround
from wherry.errors import MachineError, UsageError
from wherry.events import Event, StepStarted
from wherry.exporters.blobs import ExportedImage, exported_image
from wherry.exporters.spec import Recompression
from wherry.fstree.compression import Compression, CompressionKind
from wherry.fstree.decompress import decompressed
from wherry.fstree.zstd_writer import ZstdWriter
from wherry.oci import media
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import Layer, make_image, parse_index, parse_manifest
from wherry.process.cancel import Cancelled, CancelToken
from wherry.store.store import Store, open_store

GZIP, ZSTD = CompressionKind.GZIP, CompressionKind.ZSTD
PLAIN = CompressionKind.UNCOMPRESSED
NO_BASE: frozenset[Digest] = frozenset()
TYPES = {GZIP: media.LAYER_GZIP, ZSTD: media.LAYER_ZSTD, PLAIN: media.LAYER_TAR}


class World:
    """A store with images in it, and what was told."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.events: list[Event] = []
        self.cancel = CancelToken()

    def put(self, exported: ExportedImage) -> ExportedImage:
        assert isinstance(exported.blobs, MemoryBlobs)
        for data in exported.blobs.data.values():
            self.store.blobs.put(data)
        return replace(exported, blobs=self.store.blobs)

    def convert(self, exported: ExportedImage, choose: Choose) -> ExportedImage:
        around = RegistryAround("", {}, "/", (), self.events.append, self.cancel)
        registries = SimpleNamespace(around=around)
        return converted(exported, choose, self.store, registries)  # type: ignore[arg-type]

    def read(self, digest: Digest) -> bytes:
        with self.store.blobs.open(digest) as file:
            return file.read()

    @property
    def steps(self) -> list[str]:
        return [event.name for event in self.events if isinstance(event, StepStarted)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_store(str(tmp_path / "store")) as store:
        yield World(store)


def to(kind: CompressionKind, level: int, *, said: bool = False, force: bool = False):
    return Recompression(Compression(kind, level), said, force)


def media_types(exported: ExportedImage) -> list[str]:
    return [layer.media_type for layer in exported.images[0].manifest.layers]


@pytest.mark.parametrize("kind", [GZIP, ZSTD, PLAIN])
def test_every_layer_is_converted_and_the_files_stay(world: World, kind: CompressionKind) -> None:
    before = world.put(sample_export(b"x" * 100_000, "movies:1"))
    after = world.convert(before, chosen(to(kind, 1), NO_BASE))
    assert media_types(after) == [TYPES[kind]] * 2
    image = after.images[0]
    assert image.config_bytes == before.images[0].config_bytes
    assert image.manifest.annotations == before.images[0].manifest.annotations
    for layer in image.layers:
        data = world.read(layer.descriptor.digest)
        assert (len(data), sha256(data)) == (layer.descriptor.size, layer.descriptor.digest)
        tar = decompressed(io.BytesIO(data), layer.descriptor.media_type).read()
        assert sha256(tar) == layer.diff_id
    assert after.root.digest != before.root.digest
    assert world.read(after.root.digest) == image.manifest_bytes
    assert parse_manifest(image.manifest_bytes) == image.manifest
    assert after.references == before.references


def test_what_is_so_already_stays_unless_a_level_is_said(world: World) -> None:
    before = world.put(sample_export())
    gzipped, plain = (layer.digest for layer in before.images[0].manifest.layers)
    after = world.convert(before, chosen(to(GZIP, 1), NO_BASE)).images[0].manifest.layers
    assert after[0].digest == gzipped
    assert after[1].digest != plain
    again = world.convert(before, chosen(to(GZIP, 9, said=True), NO_BASE))
    assert again.images[0].manifest.layers[0].digest != gzipped


def test_a_base_is_converted_with_force_only(world: World) -> None:
    before = world.put(sample_export())
    base = before.images[0].manifest.layers[0].digest
    without = world.convert(before, chosen(to(ZSTD, 3), frozenset((base,))))
    assert media_types(without) == [media.LAYER_GZIP, media.LAYER_ZSTD]
    assert without.images[0].manifest.layers[0].digest == base
    forced = world.convert(before, chosen(to(ZSTD, 3, force=True), frozenset((base,))))
    assert media_types(forced) == [media.LAYER_ZSTD] * 2


def test_an_image_that_needs_nothing_is_itself(world: World) -> None:
    before = world.put(sample_export())
    assert world.convert(before, without_zstd) is before
    assert world.steps == []


def test_an_index_lists_its_converted_manifests(world: World) -> None:
    before = world.put(sample_index("movies:1"))
    after = world.convert(before, chosen(to(ZSTD, 3), NO_BASE))
    index = parse_index(world.read(after.root.digest))
    assert [item.digest for item in index.manifests] == [image.digest for image in after.images]
    assert [item.platform for item in index.manifests] == [
        image.config.platform for image in before.images
    ]
    for item in index.manifests:
        assert item.size == len(world.read(item.digest))
    # One base for both is converted once.
    assert len(world.steps) == 3
    assert after.images[0].manifest.layers[0] == after.images[1].manifest.layers[0]


def test_the_second_time_costs_a_look_and_gives_the_same(world: World) -> None:
    before = world.put(sample_export())
    choose = chosen(to(ZSTD, 3), NO_BASE)
    first = world.convert(before, choose)
    told = len(world.steps)
    assert world.convert(before, choose).root == first.root
    assert len(world.steps) == told == 2


def test_levels_are_different_layers(world: World) -> None:
    before = world.put(sample_export(bytes(range(256)) * 4000))
    low = world.convert(before, chosen(to(ZSTD, 1, said=True), NO_BASE))
    high = world.convert(before, chosen(to(ZSTD, 19, said=True), NO_BASE))
    assert low.root.digest != high.root.digest


def test_zstd_goes_where_readers_do_not_know_it(world: World) -> None:
    zstd = world.convert(world.put(sample_export()), chosen(to(ZSTD, 3), NO_BASE))
    assert media_types(world.convert(zstd, without_zstd)) == [media.LAYER_GZIP] * 2


def test_foreign_layers_stay(world: World) -> None:
    before = sample_export()
    first, second = before.images[0].layers
    foreign = Layer(replace(first.descriptor, media_type=media.FOREIGN_GZIP), first.diff_id)
    image = make_image((foreign, second), before.images[0].config)
    exported = world.put(exported_image(image, before.blobs))
    after = world.convert(exported, chosen(to(ZSTD, 3, force=True), NO_BASE))
    assert media_types(after) == [media.FOREIGN_GZIP, media.LAYER_ZSTD]


def test_damage_is_the_store_s_and_a_wrong_diff_id_the_image_s(
    world: World, tmp_path: Path
) -> None:
    before = world.put(sample_export())
    layer = before.images[0].manifest.layers[0]
    path = Path(world.store.blobs.path(layer.digest))
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(data[:-4] + b"oops")
    with pytest.raises(MachineError, match="in the store is damaged"):
        world.convert(before, chosen(to(ZSTD, 3), NO_BASE))
    path.write_bytes(data)
    first, second = before.images[0].layers
    image = make_image((Layer(first.descriptor, sha256(b"")), second), before.images[0].config)
    wrong = exported_image(image, world.store.blobs)
    with pytest.raises(UsageError, match="cannot convert the layer"):
        world.convert(wrong, chosen(to(ZSTD, 3), NO_BASE))


def test_cancelling_stops_it(world: World) -> None:
    before = world.put(sample_export())
    world.cancel.cancel()
    with pytest.raises(Cancelled):
        world.convert(before, chosen(to(ZSTD, 3), NO_BASE))


def test_zstd_does_not_depend_on_workers_or_pieces() -> None:
    data = b"".join(b"%d," % (number * number) for number in range(200_000))
    made = set()
    for workers, step in ((1, 1 << 20), (2, 4097), (4, 1 << 22)):
        out = io.BytesIO()
        with ZstdWriter(out.write, level=3, workers=workers) as writer:
            for start in range(0, len(data), step):
                writer.write(data[start : start + step])
        made.add(out.getvalue())
    (only,) = made
    assert decompressed(io.BytesIO(only), media.LAYER_ZSTD).read() == data
    assert gzip.compress(data, 1) != only
