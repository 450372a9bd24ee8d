# SPDX-License-Identifier: Apache-2.0
"""Docker archives: what stands in them, and who else reads them."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from exporter_samples import MemoryBlobs, sample_export, sample_index
from registry_tools import needs_skopeo, output_of
from wherry.errors import UsageError
from wherry.exporters.blobs import ExportedImage, exported_image
from wherry.exporters.docker_archive import write_docker_archive, write_partial_archive
from wherry.exporters.staging import staged_file
from wherry.oci import media
from wherry.oci.digest import sha256
from wherry.oci.image import Descriptor, Layer, make_image
from wherry.process.cancel import CancelToken

NAMES = ("movies:1.0", "movies:latest", "registry.example.com:5000/team/movies:2")


def archive_of(*images: ExportedImage) -> bytes:
    out = io.BytesIO()
    write_docker_archive(images, out.write, CancelToken())
    return out.getvalue()


def files_of(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {}
        for member in archive:
            file = archive.extractfile(member)
            if file is not None:
                found[member.name] = file.read()
        return found


def test_manifest_json_names_config_layers_and_tags() -> None:
    exported = sample_export(b"x", *NAMES)
    files = files_of(archive_of(exported))
    (listed,) = json.loads(files["manifest.json"])
    assert listed["RepoTags"] == list(NAMES)
    image = exported.images[0]
    assert files[listed["Config"]] == image.config_bytes
    blobs = exported.blobs
    assert isinstance(blobs, MemoryBlobs)
    assert [files[layer] for layer in listed["Layers"]] == [
        blobs.data[layer.digest] for layer in image.manifest.layers
    ]


def test_tools_older_than_manifest_json_find_the_tags() -> None:
    exported = sample_export(b"x", *NAMES)
    top = exported.images[0].manifest.layers[-1].digest.hex
    assert json.loads(files_of(archive_of(exported))["repositories"]) == {
        "movies": {"1.0": top, "latest": top},
        "registry.example.com:5000/team/movies": {"2": top},
    }


def test_it_is_an_oci_layout_too() -> None:
    exported = sample_export(b"x", *NAMES)
    files = files_of(archive_of(exported))
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    entries = json.loads(files["index.json"])["manifests"]
    assert {entry["digest"] for entry in entries} == {str(exported.root.digest)}
    assert len(entries) == 3
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert name.rpartition("/")[2] == hashlib.sha256(data).hexdigest()


def test_several_images_share_their_blobs() -> None:
    first, second = sample_export(b"x", "a:1"), sample_export(b"y", "b:1")
    names = archive_of(first, second)
    with tarfile.open(fileobj=io.BytesIO(names)) as archive:
        members = archive.getnames()
    assert members == sorted(members)
    assert len(members) == len(set(members))
    assert sum(name.startswith("blobs/sha256/") for name in members) == 7
    listed = json.loads(files_of(names)["manifest.json"])
    assert [image["RepoTags"] for image in listed] == [["a:1"], ["b:1"]]
    assert listed[0]["Layers"][0] == listed[1]["Layers"][0]


def test_an_image_without_names_or_layers_is_one_all_the_same() -> None:
    exported = exported_image(make_image((), sample_export().images[0].config), MemoryBlobs())
    files = files_of(archive_of(exported))
    assert "repositories" not in files
    assert json.loads(files["manifest.json"])[0]["Layers"] == []
    assert json.loads(files["manifest.json"])[0]["RepoTags"] == []


def test_one_image_gives_one_archive() -> None:
    assert archive_of(sample_export(b"x", *NAMES)) == archive_of(sample_export(b"x", *NAMES))


def test_an_index_is_refused_with_the_way_out() -> None:
    with pytest.raises(UsageError, match="the platforms of movies") as caught:
        archive_of(sample_index("movies:1"))
    assert "linux/amd64, linux/arm/v7" in caught.value.why
    assert "type=oci" in caught.value.hint


def test_a_foreign_layer_that_is_not_here_is_refused() -> None:
    exported = sample_export()
    layer = Layer(Descriptor(media.FOREIGN_GZIP, sha256(b"far"), 3), sha256(b"away"))
    image = make_image((layer,), exported.images[0].config)
    with pytest.raises(UsageError, match="is not here"):
        archive_of(exported_image(image, exported.blobs))


def test_a_partial_archive_is_no_layout() -> None:
    exported = sample_export(b"x", "movies:1")
    image = exported.images[0]
    out = io.BytesIO()
    without = frozenset(image.manifest.layers[:1])
    write_partial_archive(exported, without, out.write, CancelToken())
    blobs = (image.manifest.config, image.manifest.layers[1])
    assert sorted(files_of(out.getvalue())) == [
        *sorted(f"blobs/sha256/{blob.digest.hex}" for blob in blobs),
        "manifest.json",
        "repositories",
    ]


@needs_skopeo
def test_skopeo_reads_every_image_of_it(tmp_path: Path) -> None:
    path = tmp_path / "d.tar"
    images = (sample_export(b"x", *NAMES), sample_export(b"y", "other:1"))
    with staged_file(str(path)) as file:
        write_docker_archive(images, file.write, CancelToken())
    listed = json.loads(output_of("skopeo", "list-tags", f"docker-archive:{path}"))
    assert len(listed["Tags"]) == 4
    for name in (*NAMES, "other:1"):
        seen = json.loads(output_of("skopeo", "inspect", f"docker-archive:{path}:{name}"))
        assert len(seen["Layers"]) == 2
        copy = tmp_path / f"copy-{name.replace('/', '-').replace(':', '-')}"
        words = ("skopeo", "copy", "-q", "--insecure-policy")
        output_of(*words, f"docker-archive:{path}:{name}", f"dir:{copy}")
        config = json.loads((copy / "manifest.json").read_bytes())["config"]["digest"]
        wanted = images[1 if name == "other:1" else 0].images[0].manifest.config.digest
        assert config == str(wanted)


@needs_skopeo
def test_skopeo_reads_it_as_a_layout_with_the_same_digest(tmp_path: Path) -> None:
    exported = sample_export(b"x", "movies:1")
    (tmp_path / "d.tar").write_bytes(archive_of(exported))
    shown = subprocess.run(
        ["skopeo", "inspect", f"oci-archive:{tmp_path}/d.tar:1"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(shown.stdout)["Digest"] == str(exported.root.digest)
