# SPDX-License-Identifier: Apache-2.0
"""Outputs of images that stand on a registry's base: what is fetched, and what is converted."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fake_engine import FakeEngine, engine
from fault_registry import FaultRegistry
from registry_samples import layer
from wherry.oci.digest import sha256
from wherry.oci.platform import host_platform
from wherry_fixtures import Project

__all__ = ["engine"]

BLOB_PATH = r"/blobs/"
Make = Callable[[], Project]


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as served:
        yield served


def base_of(registry: FaultRegistry, **asked: object) -> str:
    layers = [layer({"etc/os-release": "ID=12\n"}), layer(size=300_000)]
    registry.put_image("base/debian", "12", layers, platform=str(host_platform()), **asked)  # type: ignore[arg-type]
    return f"{registry.host}/base/debian:12"


def layers_of(archive: Path) -> list[dict[str, str]]:
    """The layers' descriptors in an OCI archive."""
    with tarfile.open(archive) as opened:

        def read(name: str) -> dict[str, object]:
            file = opened.extractfile(name)
            assert file is not None
            return dict(json.load(file))

        entry = read("index.json")["manifests"][0]  # type: ignore[index]
        found = read(f"blobs/sha256/{entry['digest'].partition(':')[2]}")["layers"]
    assert isinstance(found, list)
    return found


def say(project: Project, text: str) -> None:
    project.write("main.go", f'package main\n\nfunc main() {{ println("{text}") }}\n')


def test_layers_that_the_engine_has_are_not_fetched(
    project: Make, registry: FaultRegistry, engine: FakeEngine, tmp_path: Path
) -> None:
    base, here = base_of(registry), project()
    here.env["DOCKER_HOST"] = engine.address
    here.build(base=base, load=True, tags=("m:1",))
    registry.forget_requests()
    # Another store, in which the base's layers are lazy again.
    here.store = tmp_path / "other"
    say(here, "new")
    result = here.build(base=base, load=True, tags=("m:1",))
    assert result.loaded == ("m:1",)
    # The base's config is all: two layers of it stayed where they are.
    assert registry.count("GET", BLOB_PATH) == 1
    assert [len(files) for files in engine.loads] == [9, 4]


def test_compression_is_for_our_own_layers_unless_forced(
    project: Make, registry: FaultRegistry, tmp_path: Path
) -> None:
    base, here = base_of(registry), project()
    for name, more in (("own", ""), ("all", ",force-compression=true")):
        output = f"type=oci,dest={tmp_path}/{name}.tar,compression=zstd{more}"
        here.build(base=base, outputs=(output,))
    own, forced = layers_of(tmp_path / "own.tar"), layers_of(tmp_path / "all.tar")
    kinds = [[item["mediaType"].rpartition("+")[2] for item in items] for items in (own, forced)]
    assert kinds == [["gzip", "gzip", "zstd"], ["zstd", "zstd", "zstd"]]
    theirs = json.loads(registry.manifest("base/debian", "12"))["layers"]
    assert [item["digest"] for item in own[:2]] == [item["digest"] for item in theirs]
    assert own[2]["digest"] == forced[2]["digest"]


@pytest.mark.parametrize("form", ["registry", "image", "oci"])
def test_what_is_told_is_the_image_where_it_went(
    project: Make, registry: FaultRegistry, tmp_path: Path, form: str
) -> None:
    here = project()
    place = f"dest={tmp_path}/a.tar" if form == "oci" else f"name={registry.host}/shop/api:1"
    files = {"metadata_file": f"{tmp_path}/metadata", "iidfile": f"{tmp_path}/id"}
    plain = here.build(tags=("m:1",))
    result = here.build(outputs=(f"type={form},{place},compression=zstd",), **files)
    there = result.digest
    if form == "registry":
        there = str(sha256(registry.manifest("shop/api", "1")))
        assert result.reference == f"{registry.host}/shop/api:1@{there}"
    elif form == "oci":
        with tarfile.open(tmp_path / "a.tar") as archive:
            file = archive.extractfile("index.json")
            assert file is not None
            there = json.load(file)["manifests"][0]["digest"]
        # The name is the store's, the archive's digest is told beside it.
        assert result.digest == plain.digest
        assert result.converted == ((f"{tmp_path}/a.tar", there),)
    assert there != plain.digest
    metadata = json.loads((tmp_path / "metadata").read_bytes())
    assert metadata["containerimage.digest"] == there == (tmp_path / "id").read_text()
    assert metadata["containerimage.descriptor"]["digest"] == there
    assert metadata["containerimage.config.digest"] == plain.config_digest


def test_a_zstd_base_is_gzip_in_a_docker_archive_that_does_not_say_zstd(
    project: Make, registry: FaultRegistry, tmp_path: Path
) -> None:
    base, here = base_of(registry, compression="zstd"), project()
    plain, asked = f"{tmp_path}/plain.tar", f"{tmp_path}/asked.tar"
    outputs = (f"type=docker,dest={plain}", f"type=docker,dest={asked},compression=zstd")
    here.build(base=base, outputs=outputs)
    kinds = [
        {item["mediaType"].rpartition("+")[2] for item in layers_of(Path(name))}
        for name in (plain, asked)
    ]
    assert kinds == [{"gzip"}, {"zstd"}]


def test_the_root_s_tar_has_the_base_s_files_and_the_program(
    project: Make, registry: FaultRegistry
) -> None:
    base, here = base_of(registry), project()
    out = io.BytesIO()
    here.build(base=base, outputs=("-",), stdout=out)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        names = archive.getnames()
        file = archive.extractfile("etc/os-release")
        assert file is not None
        assert file.read() == b"ID=12\n"
    assert "app/m" in names
