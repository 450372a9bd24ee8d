# SPDX-License-Identifier: Apache-2.0
"""`--metadata-file` and `--iidfile`."""

import json
import os
from pathlib import Path

import pytest

from exporter_samples import sample_export
from wherry.errors import MachineError
from wherry.exporters.metadata import write_iidfile, write_metadata_file


def test_metadata_has_the_keys_of_buildx(tmp_path: Path):
    exported = sample_export(b"x", "movies:1.0", "registry.example.com/movies:1.0")
    write_metadata_file(exported.image, exported.references, str(tmp_path / "m.json"))
    image = exported.image
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
    write_metadata_file(exported.image, (), str(tmp_path / "m.json"))
    assert "image.name" not in json.loads((tmp_path / "m.json").read_bytes())


def test_iidfile_holds_the_manifest_digest_alone(tmp_path: Path):
    digest = sample_export().image.digest
    (tmp_path / "id").write_text("an older and much longer content" * 10)
    write_iidfile(digest, str(tmp_path / "id"))
    assert (tmp_path / "id").read_text() == str(digest)
    assert os.listdir(tmp_path) == ["id"]


def test_unwritable_place_is_a_machine_error(tmp_path: Path):
    with pytest.raises(MachineError) as caught:
        write_iidfile(sample_export().image.digest, str(tmp_path / "none" / "id"))
    assert caught.value.hint
