# SPDX-License-Identifier: Apache-2.0
"""Images that other tools made: Docker's types, zstd and foreign layers, carried as they are."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from exporter_samples import MemoryBlobs, sample_export
from wherry.errors import MachineError, UsageError
from wherry.exporters.archive import write_oci_archive
from wherry.exporters.blobs import ExportedImage, exported_image
from wherry.exporters.local import write_local
from wherry.exporters.metadata import image_metadata
from wherry.exporters.oci_layout import write_oci_directory
from wherry.exporters.staging import staged_file
from wherry.oci import media
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import Descriptor, Image, Layer, load_image, make_image, parse_manifest
from wherry.oci.reference import parse_reference
from wherry.process.cancel import CancelToken

needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")


def skopeo(*args: str | Path) -> bytes:
    return subprocess.run(
        ["skopeo", "--insecure-policy", *map(str, args)], capture_output=True, check=True
    ).stdout


def converted(tmp_path: Path, *options: str) -> ExportedImage:
    """The sample image as skopeo writes it with `options`."""
    write_oci_directory((sample_export(b"x" * 3000, "a:latest"),), f"{tmp_path}/in", CancelToken())
    skopeo("copy", "-q", *options, f"oci:{tmp_path}/in:latest", f"dir:{tmp_path}/dir")
    files = {path.name: path.read_bytes() for path in (tmp_path / "dir").iterdir()}
    manifest = files.pop("manifest.json")
    blobs = MemoryBlobs()
    blobs.data = {Digest("sha256", name): data for name, data in files.items()}
    config = files[parse_manifest(manifest).config.digest.hex]
    return exported_image(load_image(manifest, config), blobs, (parse_reference("b:1"),))


def with_layers(exported: ExportedImage, *layers: tuple[str, bytes, Digest]) -> ExportedImage:
    """The image with these layers (media type, blob, diff ID), the blobs in its source."""
    blobs = MemoryBlobs()
    blobs.data = {sha256(data): data for _, data, _ in layers}
    made = [
        Layer(Descriptor(media_type, sha256(data), len(data)), diff_id)
        for media_type, data, diff_id in layers
    ]
    return exported_image(make_image(tuple(made), exported.images[0].config), blobs)


def tar_of(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def tree(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        content: object = path.read_bytes() if stat.S_ISREG(mode) else None
        found[str(path.relative_to(root))] = (
            mode,
            os.readlink(path) if path.is_symlink() else content,
        )
    return found


@needs_skopeo
@pytest.mark.parametrize(
    ("options", "types"),
    [
        (("--dest-compress", "--dest-compress-format", "zstd"), [media.LAYER_ZSTD] * 2),
        (("--format", "v2s2"), [media.DOCKER_LAYER_GZIP, media.DOCKER_LAYER_TAR]),
    ],
    ids=["zstd", "docker"],
)
def test_an_image_of_skopeo_s_has_the_same_files(
    tmp_path: Path, options: tuple[str, ...], types: list[str]
) -> None:
    exported = converted(tmp_path, *options)
    assert [layer.media_type for layer in exported.images[0].manifest.layers] == types
    assert write_local(exported, f"{tmp_path}/out", CancelToken()) == ()
    assert write_local(sample_export(b"x" * 3000), f"{tmp_path}/own", CancelToken()) == ()
    assert tree(tmp_path / "out") == tree(tmp_path / "own")


@needs_skopeo
@pytest.mark.parametrize("form", ["directory", "archive"])
@pytest.mark.parametrize(
    "options",
    [("--dest-compress", "--dest-compress-format", "zstd"), ("--format", "v2s2")],
    ids=["zstd", "docker"],
)
def test_a_layout_carries_it_to_the_byte(
    tmp_path: Path, options: tuple[str, ...], form: str
) -> None:
    exported = converted(tmp_path, *options)
    if form == "directory":
        write_oci_directory((exported,), f"{tmp_path}/layout", CancelToken())
        index = json.loads((tmp_path / "layout" / "index.json").read_bytes())
        place = f"oci:{tmp_path}/layout"
    else:
        with staged_file(f"{tmp_path}/a.tar") as file:
            write_oci_archive((exported,), file.write, CancelToken())
        with tarfile.open(tmp_path / "a.tar") as archive:
            member = archive.extractfile("index.json")
            assert member is not None
            index = json.load(member)
        place = f"oci-archive:{tmp_path}/a.tar"
    assert index["manifests"][0]["mediaType"] == exported.images[0].manifest.media_type
    # By no name: skopeo 1.9 finds Docker's manifests in layouts by position only.
    assert skopeo("inspect", "--raw", place) == exported.images[0].manifest_bytes
    skopeo("copy", "-q", "--preserve-digests", place, f"dir:{tmp_path}/again")
    for path in (tmp_path / "dir").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


@needs_skopeo
def test_blobs_go_by_the_manifest_s_own_types(tmp_path: Path) -> None:
    exported = converted(tmp_path, "--format", "v2s2")
    assert {item.media_type for item in exported.descriptors()} == {
        media.DOCKER_MANIFEST,
        media.DOCKER_CONFIG,
        media.DOCKER_LAYER_GZIP,
        media.DOCKER_LAYER_TAR,
    }
    metadata = image_metadata(exported)
    described = metadata["containerimage.descriptor"]
    assert isinstance(described, dict)
    assert described["mediaType"] == media.DOCKER_MANIFEST


@pytest.mark.parametrize("media_type", [media.LAYER_GZIP, media.DOCKER_LAYER_TAR])
def test_a_wrong_name_for_the_compression_is_no_hindrance(tmp_path: Path, media_type: str) -> None:
    tar = tar_of("file", b"content")
    blob = zstandard.ZstdCompressor().compress(tar)
    exported = with_layers(sample_export(), (media_type, blob, sha256(tar)))
    write_local(exported, str(tmp_path / "out"), CancelToken())
    assert (tmp_path / "out" / "file").read_bytes() == b"content"


def test_a_layer_that_is_not_the_config_s_leaves_nothing(tmp_path: Path) -> None:
    tar = tar_of("file", b"content")
    exported = with_layers(
        sample_export(),
        (media.LAYER_TAR, tar, sha256(tar)),
        (media.LAYER_GZIP, gzip.compress(tar), sha256(b"another")),
    )
    with pytest.raises(UsageError, match="cannot unpack the layer") as caught:
        write_local(exported, str(tmp_path / "out"), CancelToken())
    assert str(sha256(b"another")) in caught.value.why
    assert os.listdir(tmp_path) == []


def test_a_damaged_store_is_not_blamed_on_the_image(tmp_path: Path) -> None:
    tar = tar_of("file", b"content")
    blob = gzip.compress(tar)
    exported = with_layers(sample_export(), (media.LAYER_GZIP, blob, sha256(tar)))
    assert isinstance(exported.blobs, MemoryBlobs)
    for damaged in (blob[:-9], blob[:-9] + b"x" * 9, b"", b"\0" * len(blob)):
        exported.blobs.data[sha256(blob)] = damaged
        with pytest.raises(MachineError, match="in the store is damaged"):
            write_local(exported, str(tmp_path / "out"), CancelToken())


def test_what_is_no_layer_is_not_written(tmp_path: Path) -> None:
    exported = with_layers(sample_export(), ("application/vnd.in-toto+json", b"{}", sha256(b"{}")))
    with pytest.raises(UsageError, match="cannot unpack") as caught:
        write_local(exported, str(tmp_path / "out"), CancelToken())
    assert "application/vnd.in-toto+json" in caught.value.why
    assert os.listdir(tmp_path) == []


def foreign_export(tmp_path: Path) -> tuple[ExportedImage, Descriptor]:
    """An image whose second layer is foreign, its bytes not here."""
    tar = tar_of("file", b"content")
    exported = with_layers(
        sample_export(),
        (media.LAYER_TAR, tar, sha256(tar)),
        (media.FOREIGN_GZIP, gzip.compress(tar), sha256(tar)),
    )
    first, second = exported.images[0].layers
    there = replace(second.descriptor, urls=("https://layers.example.com/a?key=secret",))
    image: Image = make_image((first, replace(second, descriptor=there)), exported.images[0].config)
    assert isinstance(exported.blobs, MemoryBlobs)
    del exported.blobs.data[there.digest]
    return exported_image(image, exported.blobs, (parse_reference("b:1"),)), there


def test_a_foreign_layer_that_is_not_here_is_named(tmp_path: Path) -> None:
    exported, layer = foreign_export(tmp_path)
    with pytest.raises(UsageError, match=layer.digest.short) as caught:
        write_local(exported, str(tmp_path / "out"), CancelToken())
    assert "layers.example.com" in caught.value.why
    assert "secret" not in str(caught.value)
    assert os.listdir(tmp_path) == []


@needs_skopeo
def test_a_layout_leaves_an_absent_foreign_layer_to_its_servers(tmp_path: Path) -> None:
    exported, layer = foreign_export(tmp_path)
    write_oci_directory((exported,), f"{tmp_path}/layout", CancelToken())
    assert layer.digest.hex not in os.listdir(tmp_path / "layout" / "blobs" / "sha256")
    shown = json.loads(skopeo("inspect", "--raw", f"oci:{tmp_path}/layout:1"))
    assert shown["layers"][1]["urls"] == list(layer.urls)


def test_a_foreign_layer_that_is_here_is_as_good_as_any(tmp_path: Path) -> None:
    tar = tar_of("file", b"content")
    exported = with_layers(sample_export(), (media.FOREIGN_GZIP, gzip.compress(tar), sha256(tar)))
    write_local(exported, str(tmp_path / "out"), CancelToken())
    assert (tmp_path / "out" / "file").read_bytes() == b"content"
    write_oci_directory((exported,), f"{tmp_path}/layout", CancelToken())
    (layer,) = exported.images[0].manifest.layers
    assert layer.digest.hex in os.listdir(tmp_path / "layout" / "blobs" / "sha256")
