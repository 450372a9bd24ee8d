# SPDX-License-Identifier: Apache-2.0
"""OCI layouts as directories: merged, atomic, readable by other tools."""

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from exporter_samples import sample_export, sample_index
from wherry.errors import MachineError, UsageError, WherryError
from wherry.exporters.blobs import ExportedImage
from wherry.exporters.oci_layout import write_oci_directory
from wherry.process.cancel import CancelToken


def write(exported: ExportedImage, dest: Path) -> None:
    write_oci_directory((exported,), str(dest), CancelToken())


def index_of(dest: Path) -> dict:
    return json.loads((dest / "index.json").read_bytes())


def named(dest: Path) -> dict[str, str]:
    return {
        entry.get("annotations", {}).get("io.containerd.image.name", ""): entry["digest"]
        for entry in index_of(dest)["manifests"]
    }


def snapshot(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else b"<dir>"
        for path in root.rglob("*")
    }


def test_new_layout_holds_exactly_the_image(tmp_path: Path):
    exported = sample_export(b"x", "movies:latest")
    write(exported, tmp_path / "a" / "layout")
    layout = tmp_path / "a" / "layout"
    assert sorted(os.listdir(layout)) == ["blobs", "index.json", "oci-layout"]
    blobs = {f"sha256:{name}" for name in os.listdir(layout / "blobs" / "sha256")}
    assert blobs == {str(item.digest) for item in exported.descriptors()}
    assert named(layout) == {"docker.io/library/movies:latest": str(exported.images[0].digest)}


def test_same_name_moves_and_other_images_stay(tmp_path: Path):
    old, new = sample_export(b"old", "movies:latest"), sample_export(b"new", "movies:latest")
    other = sample_export(b"other", "registry.example.com/other:latest")
    for exported in (old, other, new, new):
        write(exported, tmp_path)
    assert named(tmp_path) == {
        "registry.example.com/other:latest": str(other.images[0].digest),
        "docker.io/library/movies:latest": str(new.images[0].digest),
    }
    assert len(index_of(tmp_path)["manifests"]) == 2


def test_unnamed_image_is_listed_once(tmp_path: Path):
    for binary in (b"a", b"a", b"b"):
        write(sample_export(binary), tmp_path)
    digests = [entry["digest"] for entry in index_of(tmp_path)["manifests"]]
    assert digests == [str(sample_export(binary).images[0].digest) for binary in (b"a", b"b")]


def test_what_other_tools_wrote_into_the_index_stays(tmp_path: Path):
    foreign = {
        "mediaType": "application/vnd.example+json",
        "digest": "sha256:" + "0" * 64,
        "size": 2,
        "annotations": {"org.opencontainers.image.ref.name": "foreign"},
        "data": "e30=",
    }
    write(sample_export(b"x", "movies:latest"), tmp_path)
    index = index_of(tmp_path)
    index["manifests"].append(foreign)
    index["annotations"] = {"a": "b"}
    (tmp_path / "index.json").write_text(json.dumps(index))
    write(sample_export(b"y", "movies:latest"), tmp_path)
    assert foreign in index_of(tmp_path)["manifests"]
    assert index_of(tmp_path)["annotations"] == {"a": "b"}


def test_entry_named_by_tag_alone_is_replaced(tmp_path: Path):
    write(sample_export(b"x", "movies:latest"), tmp_path)
    index = index_of(tmp_path)
    index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (tmp_path / "index.json").write_text(json.dumps(index))
    new = sample_export(b"y", "movies:latest")
    write(new, tmp_path)
    assert named(tmp_path) == {"docker.io/library/movies:latest": str(new.images[0].digest)}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("index.json", "{"),
        ("index.json", "[]"),
        ("index.json", '{"manifests": {}}'),
        ("index.json", '{"manifests": [3]}'),
        ("oci-layout", "no"),
        ("oci-layout", '{"imageLayoutVersion": "2.0.0"}'),
    ],
)
def test_something_else_in_the_directory_is_left_alone(tmp_path: Path, name: str, content: str):
    (tmp_path / name).write_text(content)
    before = snapshot(tmp_path)
    with pytest.raises(UsageError, match="no OCI layout"):
        write(sample_export(), tmp_path)
    assert snapshot(tmp_path) == before


def test_failed_export_leaves_an_old_layout_as_it_was(tmp_path: Path):
    write(sample_export(b"old", "movies:latest"), tmp_path)
    before = snapshot(tmp_path)
    broken = sample_export(b"new", "movies:latest")
    broken.blobs.data[broken.images[0].manifest.layers[1].digest] = b"damaged"
    with pytest.raises(MachineError, match="damaged"):
        write(broken, tmp_path)
    assert snapshot(tmp_path) == before


def test_failed_export_leaves_no_new_directory(tmp_path: Path):
    broken = sample_export()
    broken.blobs.data[broken.images[0].manifest.layers[0].digest] = b"damaged"
    with pytest.raises(MachineError):
        write(broken, tmp_path / "a" / "b")
    assert os.listdir(tmp_path) == []


def test_half_written_blob_of_another_tool_is_written_again(tmp_path: Path):
    exported = sample_export()
    layer = exported.images[0].manifest.layers[0].digest
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    (tmp_path / "blobs" / "sha256" / layer.hex).write_bytes(b"half")
    write(exported, tmp_path)
    data = (tmp_path / "blobs" / "sha256" / layer.hex).read_bytes()
    assert data == exported.blobs.data[layer]


def test_file_in_the_way_is_a_machine_error(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(MachineError):
        write(sample_export(), tmp_path / "file")
    assert (tmp_path / "file").is_file()


def test_exports_at_once_lose_no_image(tmp_path: Path):
    exports = [sample_export(str(number).encode(), f"m:{number}") for number in range(8)]
    errors: list[Exception] = []

    def run(exported: ExportedImage) -> None:
        try:
            write(exported, tmp_path / "layout")
        except (OSError, WherryError) as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(exported,)) for exported in exports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert named(tmp_path / "layout") == {
        f"docker.io/library/m:{number}": str(exported.images[0].digest)
        for number, exported in enumerate(exports)
    }


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_reads_the_directory(tmp_path: Path):
    exported = sample_export(b"x", "movies:1.0")
    write(exported, tmp_path / "layout")
    shown = subprocess.run(
        ["skopeo", "inspect", f"oci:{tmp_path}/layout:1.0"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(shown.stdout)["Digest"] == str(exported.images[0].digest)


@pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not installed")
def test_umoci_unpacks_the_directory(tmp_path: Path):
    write(sample_export(b"program", "movies:1.0"), tmp_path / "layout")
    subprocess.run(
        ["umoci", "unpack", "--rootless", "--image", f"{tmp_path}/layout:1.0",
         f"{tmp_path}/bundle"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert (tmp_path / "bundle" / "rootfs" / "app" / "movies").read_bytes() == b"program"


def test_several_images_and_an_index_go_in_together(tmp_path: Path):
    split, plain = sample_index("movies:1"), sample_export(b"x", "other:1")
    write_oci_directory((split, plain), str(tmp_path), CancelToken())
    assert named(tmp_path) == {
        "docker.io/library/movies:1": str(split.root.digest),
        "docker.io/library/other:1": str(plain.root.digest),
    }
    blobs = {f"sha256:{name}" for name in os.listdir(tmp_path / "blobs" / "sha256")}
    assert blobs == {str(item.digest) for item in (*split.descriptors(), *plain.descriptors())}
    assert index_of(tmp_path)["manifests"][0]["mediaType"].endswith("image.index.v1+json")


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
@pytest.mark.parametrize(("architecture", "program"), [("amd64", 0), ("arm", 1)])
def test_skopeo_finds_each_platform(tmp_path: Path, architecture: str, program: int):
    exported = sample_index("movies:1")
    write_oci_directory((exported,), str(tmp_path / "layout"), CancelToken())
    variant = ["--override-variant", "v7"] if architecture == "arm" else []
    subprocess.run(
        ["skopeo", "--override-os", "linux", "--override-arch", architecture, *variant,
         "--insecure-policy", "copy", "-q", f"oci:{tmp_path}/layout:1", f"dir:{tmp_path}/dir"],
        capture_output=True, check=True,
    )  # fmt: skip
    manifest = (tmp_path / "dir" / "manifest.json").read_bytes()
    assert manifest == exported.images[program].manifest_bytes
