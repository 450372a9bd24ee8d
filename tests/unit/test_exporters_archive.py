# SPDX-License-Identifier: Apache-2.0
"""OCI archives: equal bytes, whole or not at all, and readable by other tools."""

import errno
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tracemalloc
from pathlib import Path
from typing import BinaryIO

import pytest

from exporter_samples import MemoryBlobs, sample_export
from wherry.errors import MachineError, UsageError
from wherry.exporters.archive import layout_files, write_oci_archive
from wherry.exporters.blobs import ExportedImage, exported_image
from wherry.exporters.staging import staged_file, stream_output
from wherry.oci.image import LAYER_TAR, Descriptor, Layer, make_image
from wherry.process.cancel import Cancelled, CancelToken

NAMES = ("movies:latest", "registry.example.com/team/movies:1.0")


def write_oci_file(
    exported: ExportedImage, dest: str, mtime: int = 0, cancel: CancelToken | None = None
) -> None:
    with staged_file(dest) as file:
        write_oci_archive((exported,), file.write, cancel or CancelToken(), mtime)


def stream_oci_archive(exported: ExportedImage, stream: BinaryIO) -> None:
    with stream_output(stream) as write_to:
        write_oci_archive((exported,), write_to, CancelToken())


def write(exported: ExportedImage, dest: Path, mtime: int = 0) -> bytes:
    write_oci_file(exported, str(dest), mtime)
    return dest.read_bytes()


def test_entries_are_sorted_and_carry_one_time_no_owner_and_fixed_modes(tmp_path: Path):
    write(sample_export(b"x", *NAMES), tmp_path / "m.tar", mtime=1234)
    with tarfile.open(tmp_path / "m.tar") as archive:
        members = archive.getmembers()
        index = json.load(archive.extractfile("index.json"))
        layout = json.load(archive.extractfile("oci-layout"))
        for member in members:
            if member.isfile() and member.name.startswith("blobs/"):
                data = archive.extractfile(member).read()
                assert hashlib.sha256(data).hexdigest() == member.name.rpartition("/")[2]
    names = [member.name for member in members]
    assert names == sorted(names)
    assert {(member.mtime, member.uid, member.gid, member.uname) for member in members} == {
        (1234, 0, 0, "")
    }
    assert {member.mode for member in members} == {0o755, 0o644}
    assert layout == {"imageLayoutVersion": "1.0.0"}
    assert [entry["annotations"]["io.containerd.image.name"] for entry in index["manifests"]] == [
        "docker.io/library/movies:latest",
        "registry.example.com/team/movies:1.0",
    ]
    assert [
        entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]
    ] == ["latest", "1.0"]


def test_images_that_share_a_tag_are_found_by_their_whole_names() -> None:
    images = (sample_export(b"x", "api:1", "api:x"), sample_export(b"y", "web:1"))
    entries = json.loads(layout_files(images)["index.json"])["manifests"]
    names = [item["annotations"]["org.opencontainers.image.ref.name"] for item in entries]
    assert names == ["docker.io/library/api:1", "x", "docker.io/library/web:1"]
    alone = json.loads(layout_files((sample_export(b"x", "a:1", "b:1"),))["index.json"])
    names = [
        item["annotations"]["org.opencontainers.image.ref.name"] for item in alone["manifests"]
    ]
    assert names == ["1", "1"]


def test_same_image_same_bytes_whatever_the_place(tmp_path: Path):
    (tmp_path / "other").mkdir()
    first = write(sample_export(b"x", *NAMES), tmp_path / "a.tar")
    second = write(sample_export(b"x", *NAMES), tmp_path / "other" / "b.tar")
    stream = io.BytesIO()
    stream_oci_archive(sample_export(b"x", *NAMES), stream)
    assert first == second == stream.getvalue()
    assert (
        hashlib.sha256(first).hexdigest()
        != hashlib.sha256(write(sample_export(b"y", *NAMES), tmp_path / "c.tar")).hexdigest()
    )


def test_file_mode_follows_the_umask_and_an_old_file_is_replaced_through_its_link(tmp_path: Path):
    (tmp_path / "real.tar").write_bytes(b"old")
    (tmp_path / "link.tar").symlink_to("real.tar")
    write(sample_export(), tmp_path / "link.tar")
    assert (tmp_path / "link.tar").is_symlink()
    assert tarfile.is_tarfile(tmp_path / "real.tar")
    probe = tmp_path / "probe"
    probe.touch()
    assert (tmp_path / "real.tar").stat().st_mode == probe.stat().st_mode


class _FailingBlobs(MemoryBlobs):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def open(self, digest):
        raise self.error


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt(), Cancelled()],
    ids=["disk full", "interrupted", "cancelled"],
)
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException):
    dest = tmp_path / "m.tar"
    dest.write_bytes(b"old")
    exported = sample_export()
    broken = exported_image(exported.images[0], _FailingBlobs(error))
    wanted = MachineError if isinstance(error, OSError) else type(error)
    with pytest.raises(wanted):
        write(broken, dest)
    assert dest.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["m.tar"]


def test_cancelled_token_stops_the_copy(tmp_path: Path):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        write_oci_file(sample_export(), str(tmp_path / "m.tar"), cancel=token)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 100_000])
def test_damaged_blob_is_not_passed_on(tmp_path: Path, damage: bytes):
    exported = sample_export()
    layer = exported.images[0].manifest.layers[0]
    exported.blobs.data[layer.digest] = damage
    with pytest.raises(MachineError, match=str(layer.digest)):
        write(exported, tmp_path / "m.tar")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_full_device_is_a_machine_error():
    with pytest.raises(MachineError) as caught:
        write_oci_file(sample_export(), "/dev/full")
    assert caught.value.why == os.strerror(errno.ENOSPC)
    assert "room" in caught.value.hint
    assert os.path.exists("/dev/full")


def test_missing_directory_and_file_in_the_way_are_machine_errors(tmp_path: Path):
    (tmp_path / "file").touch()
    for dest in (tmp_path / "none" / "m.tar", tmp_path / "file" / "m.tar"):
        with pytest.raises(MachineError) as caught:
            write(sample_export(), dest)
        assert caught.value.exit_code == 3
    assert os.listdir(tmp_path) == ["file"]


def test_directory_as_archive_is_a_usage_error_that_names_tar_false(tmp_path: Path):
    with pytest.raises(UsageError, match="directory") as caught:
        write(sample_export(), tmp_path)
    assert "tar=false" in caught.value.hint


def test_terminal_and_closed_pipe_as_stdout(tmp_path: Path):
    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    with pytest.raises(UsageError, match="terminal"):
        stream_oci_archive(sample_export(), terminal)
    assert terminal.getvalue() == b""
    reading, writing = os.pipe()
    os.close(reading)
    with (
        pytest.raises(MachineError, match="stdout"),
        open(writing, "wb", buffering=0) as stream,
    ):
        stream_oci_archive(sample_export(), stream)


def test_memory_does_not_grow_with_the_image(tmp_path: Path):
    size = 48 << 20
    digest = hashlib.sha256(bytes(size)).hexdigest()
    (tmp_path / "blob").write_bytes(b"")
    os.truncate(tmp_path / "blob", size)
    exported = sample_export()
    first = exported.images[0].layers[0]
    big = Layer(
        Descriptor(LAYER_TAR, first.descriptor.digest._replace(hex=digest), size), first.diff_id
    )

    class OnDiskBlobs(MemoryBlobs):
        def open(self, digest):
            return open(tmp_path / "blob", "rb")

    image = make_image((big,), exported.images[0].config)
    tracemalloc.start()
    try:
        write_oci_file(exported_image(image, OnDiskBlobs()), str(tmp_path / "m.tar"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20
    assert (tmp_path / "m.tar").stat().st_size > size


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_reads_the_archive(tmp_path: Path):
    exported = sample_export(b"x", "movies:latest")
    write(exported, tmp_path / "m.tar")
    shown = subprocess.run(
        ["skopeo", "inspect", f"oci-archive:{tmp_path}/m.tar:latest"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    facts = json.loads(shown.stdout)
    assert facts["Digest"] == str(exported.images[0].digest)
    assert facts["Architecture"] == "amd64"
    assert len(facts["Layers"]) == 2
