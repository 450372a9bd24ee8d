# SPDX-License-Identifier: Apache-2.0
"""`--metadata-file` and `--iidfile`."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from exporter_samples import sample_export, sample_index
from wherry.errors import MachineError
from wherry.exporters.metadata import write_iidfile, write_metadata_file


def test_metadata_has_the_keys_of_buildx(tmp_path: Path):
    exported = sample_export(b"x", "movies:1.0", "registry.example.com/movies:1.0")
    write_metadata_file((exported,), str(tmp_path / "m.json"))
    image = exported.images[0]
    assert json.loads((tmp_path / "m.json").read_bytes()) == {
        "containerimage.digest": str(image.digest),
        "containerimage.config.digest": str(image.manifest.config.digest),
        "containerimage.descriptor": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": str(image.digest),
            "size": len(image.manifest_bytes),
            "platform": {"architecture": "amd64", "os": "linux"},
        },
        "image.name": "docker.io/library/movies:1.0,registry.example.com/movies:1.0",
    }


def test_image_without_a_name_has_no_name_key(tmp_path: Path):
    exported = sample_export()
    write_metadata_file((exported,), str(tmp_path / "m.json"))
    assert "image.name" not in json.loads((tmp_path / "m.json").read_bytes())


def test_iidfile_holds_the_manifest_digest_alone(tmp_path: Path):
    digest = sample_export().images[0].digest
    (tmp_path / "id").write_text("an older and much longer content" * 10)
    write_iidfile(digest, str(tmp_path / "id"))
    assert (tmp_path / "id").read_text() == str(digest)
    assert os.listdir(tmp_path) == ["id"]


def test_unwritable_place_is_a_machine_error(tmp_path: Path):
    with pytest.raises(MachineError) as caught:
        write_iidfile(sample_export().images[0].digest, str(tmp_path / "none" / "id"))
    assert caught.value.hint


def test_an_index_has_no_config(tmp_path: Path):
    exported = sample_index("movies:1.0")
    write_metadata_file((exported,), str(tmp_path / "m.json"))
    value = json.loads((tmp_path / "m.json").read_bytes())
    assert sorted(value) == ["containerimage.descriptor", "containerimage.digest", "image.name"]
    assert value["containerimage.digest"] == str(exported.root.digest)


def test_several_images_stand_under_their_names(tmp_path: Path):
    first, second = sample_export(b"a", "a:1"), sample_export(b"b", "b:1")
    images = (replace(first, name="api"), replace(second, name="web"))
    write_metadata_file(images, str(tmp_path / "m.json"))
    value = json.loads((tmp_path / "m.json").read_bytes())
    assert {name: item["containerimage.digest"] for name, item in value.items()} == {
        "api": str(first.root.digest),
        "web": str(second.root.digest),
    }
