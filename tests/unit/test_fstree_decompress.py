# SPDX-License-Identifier: Apache-2.0
"""Layers' blobs become tars: every compression, every kind of damage, bounded memory."""

import gzip
import io
import itertools
import os
import shutil
import subprocess
import sys
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import MachineError, UsageError
from wherry.fstree.decompress import WINDOW_LIMIT, VerifiedDiff, decompressed
from wherry.fstree.unpack import Ownership, unpack_blob
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import Descriptor, Layer
from wherry.oci.media import (
    DOCKER_FOREIGN_GZIP,
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_TAR,
    LAYER_GZIP,
    LAYER_TAR,
    LAYER_ZSTD,
)
from wherry.process.cancel import Cancelled, CancelToken

TYPES = (LAYER_TAR, LAYER_GZIP, LAYER_ZSTD, DOCKER_LAYER_TAR, DOCKER_LAYER_GZIP)
SKIPPABLE = b"\x5a\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"table"


def zstd(data: bytes, **options: bool) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(data)


def zstd_stream(data: bytes, window_log: int = 20) -> bytes:
    """As written by who does not know the size: a window instead of it."""
    options = zstandard.ZstdCompressionParameters(window_log=window_log)
    writer = zstandard.ZstdCompressor(compression_params=options).compressobj()
    return writer.compress(data) + writer.flush()


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "gzip stored": lambda data: gzip.compress(data, 0),
    "gzip members": lambda data: (
        gzip.compress(data[:7]) + gzip.compress(b"") + gzip.compress(data[7:])
    ),
    "gzip padded": lambda data: gzip.compress(data) + bytes(700),
    "zstd": zstd,
    "zstd checksum": lambda data: zstd(data, write_checksum=True),
    "zstd stream": zstd_stream,
    "zstd frames": lambda data: zstd(data[:7]) + zstd(b"") + SKIPPABLE + zstd(data[7:]) + SKIPPABLE,
    "zstd after a skippable frame": lambda data: SKIPPABLE + zstd(data),
}
WHOLE = ("gzip", "gzip stored", "zstd", "zstd checksum", "zstd stream")


class Dribble(io.RawIOBase):
    """A stream that gives a few bytes at a time, as sockets do."""

    def __init__(self, data: bytes, steps: tuple[int, ...]) -> None:
        super().__init__()
        self._file = io.BytesIO(data)
        self._steps = itertools.cycle(steps)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer):
        return self._file.readinto(memoryview(buffer)[: next(self._steps)])


def read(blob: bytes, media_type: str = LAYER_GZIP) -> bytes:
    return decompressed(io.BytesIO(blob), media_type).read()


def tar_of(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def unpack(blob: bytes, diff_id: Digest, root: Path, media_type: str = LAYER_GZIP) -> None:
    layer = Layer(Descriptor(media_type, sha256(blob), len(blob)), diff_id)
    assert unpack_blob(io.BytesIO(blob), layer, str(root), Ownership.IGNORE) == ()


# Whole data


@given(
    st.binary(max_size=200),
    st.sampled_from([1, 2, 3000]),
    st.sampled_from(sorted(FORMS)),
    st.sampled_from(TYPES),
    st.lists(st.integers(1, 70_000), min_size=1, max_size=4).map(tuple),
)
def test_every_form_under_every_name(
    data: bytes, times: int, form: str, media_type: str, steps: tuple[int, ...]
) -> None:
    data = b"name" + data * times
    stream = Dribble(FORMS[form](data), steps)
    assert decompressed(stream, media_type).read() == data
    assert not stream.closed


@pytest.mark.parametrize("form", sorted(FORMS))
def test_large_data_in_small_reads(form: str) -> None:
    data = b"".join(number.to_bytes(4, "big") * 3 for number in range(60_000))
    stream = decompressed(io.BytesIO(FORMS[form](data)), LAYER_ZSTD)
    pieces = list(iter(lambda: stream.read(997), b""))
    assert b"".join(pieces) == data
    assert {len(piece) for piece in pieces[:-1]} == {997}


@pytest.mark.parametrize("program", ["gzip", "pigz", "zstd", "pzstd"])
def test_what_other_programs_write(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    data = os.urandom(1000) * 1000
    blob = subprocess.run([program, "-c"], input=data, capture_output=True, check=True).stdout
    assert read(blob) == data


def test_an_empty_blob_is_no_tar(tmp_path: Path) -> None:
    assert read(b"") == b""
    with pytest.raises(UsageError, match="cannot unpack"):
        unpack(b"", sha256(b""), tmp_path)


def test_what_is_no_layer_is_not_opened() -> None:
    with pytest.raises(UsageError, match="in-toto"):
        decompressed(io.BytesIO(b"{}"), "application/vnd.in-toto+json")


# Damage


@pytest.mark.parametrize("form", WHOLE)
def test_data_cut_anywhere_are_no_shorter_tar(form: str) -> None:
    blob = FORMS[form](bytes(range(256)) * 8)
    for cut in range(4, len(blob)):
        with pytest.raises(UsageError, match="cut short"):
            read(blob[:cut])


def test_a_second_part_cut_short() -> None:
    for first, second in (
        (gzip.compress(b"a"), gzip.compress(b"b" * 99)),
        (zstd(b"a"), zstd(b"b")),
    ):
        for cut in range(1, len(second)):
            with pytest.raises(UsageError, match="cut short"):
                read(first + second[:cut])
    for cut in range(1, len(SKIPPABLE)):
        with pytest.raises(UsageError, match="cut short"):
            read(zstd(b"a") + SKIPPABLE[:cut])


@pytest.mark.parametrize("rest", [b"x", b"rest" * 9, b"\0" * 99 + b"x", b"\x1f\x8b\x07" * 9])
def test_bytes_behind_the_end_are_damage(rest: bytes) -> None:
    for blob in (gzip.compress(b"data"), zstd(b"data")):
        with pytest.raises(UsageError, match=r"damaged|cut short|no zstd frame"):
            read(blob + rest)


def test_zeros_behind_the_end_are_padding_to_gzip_only() -> None:
    assert read(gzip.compress(b"data") + bytes(100_000)) == b"data"
    with pytest.raises(UsageError, match="no zstd frame"):
        read(zstd(b"data") + bytes(8))


def test_one_compression_does_not_go_on_as_another() -> None:
    for blob in (gzip.compress(b"a") + zstd(b"b"), zstd(b"a") + gzip.compress(b"b")):
        with pytest.raises(UsageError):
            read(blob)


@given(st.sampled_from(WHOLE), st.binary(max_size=99), st.data())
def test_changed_bytes_are_damage_or_another_diff(
    form: str, data: bytes, draw: st.DataObject
) -> None:
    blob = bytearray(FORMS[form](data))
    place = draw.draw(st.integers(4, len(blob) - 1))
    blob[place] ^= draw.draw(st.integers(1, 255))
    # The time in gzip's header, and such, may be anything: the tar is the same then.
    verified = VerifiedDiff(decompressed(io.BytesIO(blob), LAYER_ZSTD), sha256(data))
    try:
        found = verified.read()
    except UsageError:
        return
    assert found == data


@given(
    st.sampled_from([b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"]), st.binary()
)
def test_any_bytes_are_data_or_a_usage_error(head: bytes, rest: bytes) -> None:
    try:
        found = read(head + rest)
    except UsageError as error:
        assert "data are" in error.what or "zstd" in error.what
        return
    assert isinstance(found, bytes)


def test_an_error_of_the_stream_is_passed_on() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 100:
                raise OSError(5, "no such disk")
            return super().read(60)

    for form in ("plain", "gzip stored", "zstd"):
        with pytest.raises(OSError, match="no such disk"):
            decompressed(Failing(FORMS[form](os.urandom(500))), LAYER_GZIP).read()


# Memory


def test_zstd_windows_are_bounded() -> None:
    assert WINDOW_LIMIT == 1 << 27
    assert read(zstd_stream(b"data", 27)) == b"data"
    for log, told in ((28, "256 MiB"), (31, "2048 MiB")):
        blob = bytearray(zstd_stream(b"data"))
        assert not blob[4] & 0x20
        blob[5] = (log - 10) << 3
        with pytest.raises(UsageError, match=told):
            read(bytes(blob))


def test_a_single_segment_is_its_own_window() -> None:
    # No window, eight bytes of size, one last block without compression: RFC 8878, section 3.1.1.
    for size, is_taken in ((WINDOW_LIMIT + 1, False), (1 << 63, False), (4, True)):
        blob = b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"\x21\0\0data"
        if is_taken:
            assert read(blob) == b"data"
        else:
            with pytest.raises(UsageError, match="MiB of memory"):
                read(blob)


def test_a_frame_that_needs_a_dictionary_is_refused() -> None:
    block = b"\x21\0\0data"
    assert read(b"\x28\xb5\x2f\xfd\x20\x04" + block) == b"data"
    with pytest.raises(UsageError, match="zstd data are damaged"):
        read(b"\x28\xb5\x2f\xfd\x21\x07\x04" + block)


def zstd_bomb(size: int) -> bytes:
    """Blocks of one byte repeated: 128 KiB each from four bytes."""
    block = ((128 << 10) << 3 | 2).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd\x00\x38" + block * (size >> 17) + b"\x01\0\0"


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_memory_does_not_grow_with_the_output(kind: str) -> None:
    size = 256 << 20
    blob = zstd_bomb(size) if kind == "zstd" else gzip.compress(bytes(1 << 20)) * 256
    assert len(blob) < 1 << 20
    stream: BinaryIO = decompressed(io.BytesIO(blob), LAYER_GZIP)
    tracemalloc.start()
    try:
        length = 0
        while piece := stream.read(1 << 18):
            length += len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert length == size
    assert peak < 4 << 20


# The diff ID


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("media_type", [LAYER_GZIP, DOCKER_FOREIGN_GZIP])
def test_a_layer_is_unpacked_whatever_its_form(tmp_path: Path, form: str, media_type: str) -> None:
    tar = tar_of(one=b"1", two=b"2" * 100_000)
    unpack(FORMS[form](tar), sha256(tar), tmp_path, media_type)
    assert (tmp_path / "two").read_bytes() == b"2" * 100_000


def test_a_config_that_lies_about_a_layer_is_found_out(tmp_path: Path) -> None:
    tar, other = tar_of(one=b"1"), tar_of(one=b"2")
    for form in FORMS.values():
        with pytest.raises(UsageError, match="cannot unpack") as caught:
            unpack(form(tar), sha256(other), tmp_path)
        assert str(sha256(tar)) in caught.value.why
        assert str(sha256(other)) in caught.value.why
        assert caught.value.hint


def test_what_stands_behind_the_archive_s_end_counts(tmp_path: Path) -> None:
    tar = tar_of(one=b"1")
    unpack(gzip.compress(tar + b"more"), sha256(tar + b"more"), tmp_path)
    with pytest.raises(UsageError, match="cannot unpack"):
        unpack(gzip.compress(tar + b"more"), sha256(tar), tmp_path)
    # tarfile stops reading before the damage.
    with pytest.raises(UsageError, match="cannot unpack"):
        unpack(gzip.compress(tar + bytes(1 << 20))[:-9], sha256(tar), tmp_path)


def test_other_algorithms(tmp_path: Path) -> None:
    import hashlib

    tar = tar_of(one=b"1")
    unpack(tar, Digest("sha512", hashlib.sha512(tar).hexdigest()), tmp_path)
    with pytest.raises(UsageError):
        unpack(tar, Digest("sha512", "0" * 128), tmp_path)


def test_a_blob_cut_anywhere_is_not_unpacked(tmp_path: Path) -> None:
    tar = tar_of(one=b"1")
    for blob in (gzip.compress(tar), zstd(tar)):
        for cut in range(len(blob)):
            with pytest.raises(UsageError, match="cannot unpack"):
                unpack(blob[:cut], sha256(tar), tmp_path)


def test_a_window_s_hint_reaches_the_user(tmp_path: Path) -> None:
    blob = bytearray(zstd_stream(tar_of(one=b"1")))
    blob[5] = 18 << 3
    with pytest.raises(UsageError, match="cannot unpack") as caught:
        unpack(bytes(blob), sha256(b""), tmp_path)
    assert "--long=27" in caught.value.hint


def test_one_huge_file_can_be_cancelled(tmp_path: Path) -> None:
    token = CancelToken()

    class Cancelling(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 2 << 20:
                token.cancel()
            return super().read(size)

    # How far a reader runs ahead is its own matter, a few pieces of a MiB at most.
    tar = tar_of(one=bytes(64 << 20))
    layer = Layer(Descriptor(LAYER_TAR, sha256(tar), len(tar)), sha256(tar))
    blob = Cancelling(tar)
    with pytest.raises(Cancelled):
        unpack_blob(blob, layer, str(tmp_path), Ownership.IGNORE, cancel=token)
    assert blob.tell() < 16 << 20


def test_without_the_zstd_library_only_zstd_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    tar = tar_of(one=b"1")
    unpack(gzip.compress(tar), sha256(tar), tmp_path, LAYER_ZSTD)
    with pytest.raises(MachineError, match="zstd") as caught:
        unpack(zstd(tar), sha256(tar), tmp_path)
    assert "dependencies" in caught.value.hint
