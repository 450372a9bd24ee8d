# SPDX-License-Identifier: Apache-2.0
"""`type=tar`: the file system of an image, read back by other tars."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from exporter_samples import MemoryBlobs, make_layer, sample_export, sample_index
from wherry.errors import MachineError, UsageError
from wherry.exporters.blobs import ExportedImage, exported_image
from wherry.exporters.local import write_local
from wherry.exporters.root_tar import write_root_tar
from wherry.fstree.members import Members
from wherry.fstree.tree import Directory, Entry, File, HardLink, Inline, Special, Symlink, make_tree
from wherry.oci.digest import sha256
from wherry.oci.image import LAYER_GZIP, LAYER_TAR, Descriptor, Layer, make_image
from wherry.process.cancel import Cancelled, CancelToken


def image_of(*layers: tuple[Entry, ...], removed: tuple[str, ...] = ()) -> ExportedImage:
    """An image of these layers; the last one removes `removed`."""
    blobs = MemoryBlobs()
    made = []
    for number, entries in enumerate(layers):
        gone = removed if number == len(layers) - 1 else ()
        media_type = LAYER_GZIP if number % 2 else LAYER_TAR
        made.append(make_layer(blobs, make_tree(entries, gone), media_type))
    return exported_image(make_image(tuple(made), sample_export().images[0].config), blobs)


def tar_of(exported: ExportedImage) -> bytes:
    out = io.BytesIO()
    write_root_tar(exported, out.write, CancelToken())
    return out.getvalue()


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = archive.getmembers()
    assert len({member.name for member in found}) == len(found)
    return {member.name: member for member in found}


def content(data: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        file = archive.extractfile(name)
        assert file is not None
        return file.read()


def test_it_holds_the_files_of_all_layers_with_owners_modes_and_times() -> None:
    srv = Directory("srv", 0o750, 7, 8, mtime=99)
    exported = image_of(
        (srv, File("srv/a", Inline(b"one"), 0o640, 5, 6)),
        (srv, File("srv/b", Inline(b"two" * 90_000), 0o4755, 70_000, 4_000_000, mtime=1234)),
    )
    data = tar_of(exported)
    found = members(data)
    assert sorted(found) == ["srv", "srv/a", "srv/b"]
    facts = {name: (item.mode, item.uid, item.gid, item.mtime) for name, item in found.items()}
    assert facts == {
        "srv": (0o750, 7, 8, 99),
        "srv/a": (0o640, 5, 6, 0),
        "srv/b": (0o4755, 70_000, 4_000_000, 1234),
    }
    assert content(data, "srv/b") == b"two" * 90_000


def test_upper_layers_replace_and_remove() -> None:
    lower = (File("a", Inline(b"old")), File("b", Inline(b"gone")), File("d/x", Inline(b"gone")))
    upper = (File("a", Inline(b"new" * 50_000)), Symlink("d", "elsewhere"))
    data = tar_of(image_of(lower, upper, removed=("b",)))
    assert sorted(members(data)) == ["a", "d"]
    assert content(data, "a") == b"new" * 50_000
    assert members(data)["d"].linkname == "elsewhere"


def test_a_path_through_a_link_of_a_lower_layer_is_the_real_one() -> None:
    exported = image_of((Directory("usr/lib"), Symlink("lib", "usr/lib")))
    blobs = exported.blobs
    assert isinstance(blobs, MemoryBlobs)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("lib/x")
        info.size = 2
        archive.addfile(info, io.BytesIO(b"in"))
    tar = buffer.getvalue()
    blobs.data[sha256(tar)] = tar
    layer = Layer(Descriptor(LAYER_TAR, sha256(tar), len(tar)), sha256(tar))
    image = make_image((*exported.images[0].layers, layer), exported.images[0].config)
    data = tar_of(exported_image(image, blobs))
    assert content(data, "usr/lib/x") == b"in"
    assert members(data)["lib"].issym()


def test_a_hard_link_to_a_lower_layer_stays_one() -> None:
    exported = image_of((File("a", Inline(b"z" * 70_000)),))
    blobs = exported.blobs
    assert isinstance(blobs, MemoryBlobs)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("b")
        info.type, info.linkname = tarfile.LNKTYPE, "a"
        archive.addfile(info)
    tar = buffer.getvalue()
    blobs.data[sha256(tar)] = tar
    layer = Layer(Descriptor(LAYER_TAR, sha256(tar), len(tar)), sha256(tar))
    image = make_image((*exported.images[0].layers, layer), exported.images[0].config)
    data = tar_of(exported_image(image, blobs))
    assert members(data)["b"].linkname == "a"
    assert content(data, "b") == b"z" * 70_000


def test_hard_links_devices_attributes_and_strange_names_come_back() -> None:
    name = b"n\nl \xff".decode("utf-8", "surrogateescape")
    capability = (("security.capability", b"\x01\x00\x00\x02\xff"),)
    exported = image_of(
        (
            File("a", Inline(b"z" * 70_000), 0o755, xattrs=capability),
            HardLink("b", "a"),
            Special("null", "char", 1, 3, 0o666),
            Special("pipe", "fifo"),
            File(name, Inline(b"odd")),
            File("long/" + "x" * 200 + "/" + "y" * 200, Inline(b"")),
        )
    )
    data = tar_of(exported)
    found = members(data)
    assert found["b"].islnk()
    assert found["b"].linkname == "a"
    assert (
        found["a"]
        .pax_headers["SCHILY.xattr.security.capability"]
        .encode("utf-8", "surrogateescape")
        == capability[0][1]
    )
    assert found["null"].ischr()
    assert (found["null"].devmajor, found["null"].devminor) == (1, 3)
    assert found["pipe"].isfifo()
    assert content(data, name) == b"odd"
    assert "long/" + "x" * 200 + "/" + "y" * 200 in found
    assert [member.name.rstrip("/") for member in Members(io.BytesIO(data))] == list(found)


def test_gnu_tar_unpacks_what_the_local_output_writes(tmp_path: Path) -> None:
    exported = sample_export(b"program" * 30_000)
    (tmp_path / "r.tar").write_bytes(tar_of(exported))
    (tmp_path / "gnu").mkdir()
    subprocess.run(["tar", "xf", "../r.tar"], cwd=tmp_path / "gnu", check=True, timeout=60)
    write_local(exported, str(tmp_path / "local"), CancelToken())
    shown = []
    for root in ("gnu", "local"):
        listed = {}
        for path in sorted((tmp_path / root).rglob("*")):
            status = path.lstat()
            data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            listed[str(path.relative_to(tmp_path / root))] = (status.st_mode, data)
        shown.append(listed)
    assert shown[0] == shown[1]


def test_each_platform_has_its_directory(tmp_path: Path) -> None:
    exported = sample_index()
    data = tar_of(exported)
    assert content(data, "linux_amd64/app/movies") == b"program for linux/amd64"
    assert content(data, "linux_arm_v7/app/movies") == b"program for linux/arm/v7"
    write_local(exported, str(tmp_path / "out"), CancelToken())
    assert sorted(os.listdir(tmp_path / "out")) == ["linux_amd64", "linux_arm_v7"]
    assert (tmp_path / "out" / "linux_arm_v7" / "etc" / "passwd").exists()


def test_one_image_gives_one_tar_and_directories_stand_first() -> None:
    data = tar_of(sample_export(b"x"))
    assert data == tar_of(sample_export(b"x"))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        kinds = [member.isdir() for member in archive]
    assert kinds == sorted(kinds, reverse=True)


def test_an_image_without_layers_is_an_empty_tar() -> None:
    assert members(tar_of(image_of())) == {}


def test_a_damaged_store_is_told() -> None:
    exported = sample_export()
    layer = exported.images[0].manifest.layers[0]
    exported.blobs.data[layer.digest] = b"damaged"  # type: ignore[attr-defined]
    with pytest.raises(MachineError, match="in the store is damaged"):
        tar_of(exported)


def test_an_image_whose_layer_is_another_is_told() -> None:
    exported = sample_export()
    first, second = exported.images[0].layers
    image = make_image((first, Layer(second.descriptor, sha256(b""))), exported.images[0].config)
    with pytest.raises(UsageError, match="cannot read the layer") as caught:
        tar_of(exported_image(image, exported.blobs))
    assert str(sha256(b"")) in caught.value.why
    assert "cannot read the layer" not in caught.value.why


def test_cancelling_stops_it() -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        write_root_tar(sample_export(), io.BytesIO().write, token)
