# SPDX-License-Identifier: Apache-2.0
"""`type=local`: the image's files, without harm to what lies beside or outside."""

import fcntl
import io
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from exporter_samples import MemoryBlobs, make_layer, sample_export
from wherry.errors import MachineError
from wherry.exporters.blobs import ExportedImage, exported_image
from wherry.exporters.local import write_local
from wherry.fstree.tree import File, HardLink, Inline, make_tree
from wherry.oci.digest import sha256
from wherry.oci.image import LAYER_GZIP, LAYER_TAR, Descriptor, Layer, make_image
from wherry.process.cancel import Cancelled, CancelToken


def write(exported: ExportedImage, dest: Path) -> None:
    assert write_local(exported, str(dest), CancelToken()) == ()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def with_layer(exported: ExportedImage, *entries: File | HardLink) -> ExportedImage:
    blobs = exported.blobs
    assert isinstance(blobs, MemoryBlobs)
    layer = make_layer(blobs, make_tree(entries), LAYER_GZIP)
    image = make_image((*exported.images[0].layers, layer), exported.images[0].config)
    return exported_image(image, blobs)


def with_whiteout(exported: ExportedImage, path: str) -> ExportedImage:
    blobs = exported.blobs
    assert isinstance(blobs, MemoryBlobs)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(path))
    data = buffer.getvalue()
    blobs.data[sha256(data)] = data
    layer = Layer(Descriptor(LAYER_TAR, sha256(data), len(data)), sha256(data))
    image = make_image((*exported.images[0].layers, layer), exported.images[0].config)
    return exported_image(image, blobs)


def test_one_platform_gets_a_directory_where_that_is_asked_for(tmp_path: Path):
    exported = sample_export(b"x")
    write_local(exported, str(tmp_path / "out"), CancelToken(), split=True)
    assert os.listdir(tmp_path / "out") == ["linux_amd64"]
    assert (tmp_path / "out" / "linux_amd64" / "app" / "movies").read_bytes() == b"x"


def test_all_layers_are_there_with_modes_links_and_a_binary_that_starts(tmp_path: Path):
    dest = tmp_path / "new" / "out"
    write(sample_export(b"#!/bin/sh\necho started\n"), dest)
    assert sorted(os.listdir(dest)) == ["app", "closed", "etc", "root", "tmp"]
    assert mode(dest / "root") == 0o700
    assert mode(dest / "tmp") == 0o1777
    assert mode(dest / "closed") == 0o555
    assert (dest / "closed" / "file").read_bytes() == b"shut in\n"
    assert os.readlink(dest / "etc" / "mtab") == "/proc/mounts"
    started = subprocess.run([dest / "app" / "movies"], capture_output=True, check=True)
    assert started.stdout == b"started\n"
    assert (dest / "app" / "movies").stat().st_uid == os.getuid()


def test_existing_files_are_replaced_and_others_stay(tmp_path: Path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "movies").write_text("old")
    (tmp_path / "app" / "mine").write_text("mine")
    (tmp_path / "README").write_text("mine too")
    write(sample_export(b"new"), tmp_path)
    write(sample_export(b"newer"), tmp_path)
    assert (tmp_path / "app" / "movies").read_bytes() == b"newer"
    assert (tmp_path / "app" / "mine").read_text() == "mine"
    assert (tmp_path / "README").read_text() == "mine too"
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_later_layers_win_and_remove(tmp_path: Path):
    exported = with_layer(sample_export(b"first"), File("app/movies", Inline(b"second"), 0o755))
    exported = with_whiteout(exported, "etc/.wh.passwd")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "shadow").write_text("mine")
    write(exported, tmp_path)
    assert (tmp_path / "app" / "movies").read_bytes() == b"second"
    assert sorted(os.listdir(tmp_path / "etc")) == ["mtab", "shadow"]


def test_hard_links_stay_linked(tmp_path: Path):
    exported = with_layer(
        sample_export(), File("zone/a", Inline(b"zone")), HardLink("zone/b", "zone/a")
    )
    write(exported, tmp_path)
    first, second = (tmp_path / "zone" / name for name in "ab")
    assert first.stat().st_ino == second.stat().st_ino


@pytest.mark.parametrize("link", ["app", "app/movies", "etc"])
def test_links_in_the_destination_are_replaced_not_followed(tmp_path: Path, link: str):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "movies").write_text("precious")
    dest = tmp_path / "dest"
    (dest / link).parent.mkdir(parents=True)
    (dest / link).symlink_to(outside / "movies" if "/" in link else outside)
    write(sample_export(b"new"), dest)
    assert (outside / "movies").read_text() == "precious"
    assert os.listdir(outside) == ["movies"]
    assert not (dest / link).is_symlink()
    assert (dest / "app" / "movies").read_bytes() == b"new"


def test_destination_that_is_a_link_is_followed(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write(sample_export(b"new"), tmp_path / "link")
    assert (tmp_path / "real" / "app" / "movies").read_bytes() == b"new"


def test_directory_where_the_image_has_a_file_stops_before_anything_moves(tmp_path: Path):
    (tmp_path / "etc" / "passwd").mkdir(parents=True)
    (tmp_path / "etc" / "passwd" / "mine").write_text("mine")
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(MachineError, match="passwd") as caught:
        write(sample_export(), tmp_path)
    assert "is a directory" in caught.value.why
    assert sorted(os.listdir(tmp_path)) == ["closed", "etc"]
    assert (tmp_path / "etc" / "passwd" / "mine").read_text() == "mine"
    assert mode(tmp_path / "closed") == 0o500


def test_damaged_layer_leaves_nothing(tmp_path: Path):
    exported = sample_export()
    layer = exported.images[0].manifest.layers[1]
    data = bytearray(exported.blobs.data[layer.digest])
    data[-1] ^= 1  # in the zeros after the archive's end: only the digest tells
    exported.blobs.data[layer.digest] = bytes(data)
    with pytest.raises(MachineError, match="damaged"):
        write(exported, tmp_path / "a" / "out")
    assert os.listdir(tmp_path) == []


def test_cancelled_export_leaves_nothing(tmp_path: Path):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        write_local(sample_export(), str(tmp_path / "out"), token)
    assert os.listdir(tmp_path) == []


def test_file_as_destination_is_a_machine_error(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(MachineError):
        write(sample_export(), tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_what_a_killed_export_left_goes_and_what_another_works_in_stays(tmp_path: Path):
    left, used = tmp_path / ".wherry-0123456789ab", tmp_path / ".wherry-ba9876543210"
    (left / "usr" / "bin").mkdir(parents=True)
    (left / "usr" / "bin" / "x").write_text("x")
    used.mkdir()
    (tmp_path / ".wherry-mine").mkdir()
    descriptor = os.open(used, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        write_local(sample_export(), str(tmp_path), CancelToken())
        assert {path.name for path in tmp_path.glob(".wherry-*")} == {used.name, ".wherry-mine"}
        assert not list(used.iterdir())
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("is_old_there", [False, True])
def test_a_new_directory_moves_whole_whatever_its_mode(tmp_path: Path, is_old_there: bool):
    if is_old_there:
        (tmp_path / "closed").write_text("a file where the image has a directory")
    write(sample_export(), tmp_path)
    assert mode(tmp_path / "closed") == 0o555
    assert (tmp_path / "closed").stat().st_mtime_ns == 0
    assert (tmp_path / "closed" / "file").read_bytes() == b"shut in\n"
    assert mode(tmp_path / "tmp") == 0o1777
