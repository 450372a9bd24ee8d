# SPDX-License-Identifier: Apache-2.0
"""A stream read ahead: the same bytes, errors and ends, and no thread left."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import threading
from pathlib import Path

import pytest

from wherry.errors import UsageError
from wherry.fstree.read_ahead import ReadAhead
from wherry.fstree.unpack import Ownership, unpack_blob
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import Descriptor, Layer
from wherry.process.cancel import Cancelled, CancelToken

DATA = os.urandom(5_000_001)


class Failing(io.RawIOBase):
    """Data without end, or an error after so many reads."""

    def __init__(self, reads: int = -1) -> None:
        super().__init__()
        self.reads = reads

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray, /) -> int:  # type: ignore[override]
        if self.reads == 0:
            raise OSError("the disk is gone")
        self.reads -= 1
        return len(buffer)


def own_threads() -> int:
    return sum(thread.name == "read-ahead" for thread in threading.enumerate())


def test_the_bytes_are_the_same() -> None:
    with io.FileIO(os.memfd_create("empty")) as nothing, ReadAhead(nothing) as empty:
        assert empty.read(1) == empty.read(1) == b""
    file = io.FileIO(os.memfd_create("data"), "r+")
    file.write(DATA)
    file.seek(0)
    with ReadAhead(file) as ahead:
        assert io.BufferedReader(ahead, 70_000).read() == DATA
        assert own_threads() <= 1
    assert own_threads() == 0
    assert not file.closed
    file.close()


def test_an_error_comes_after_what_was_read_before_it_and_comes_again() -> None:
    with ReadAhead(Failing(3)) as ahead:
        for _ in range(3):
            assert len(ahead.read(1 << 20)) == 1 << 20
        for _ in range(2):
            with pytest.raises(OSError, match="the disk is gone"):
                ahead.read(1)
    assert own_threads() == 0


def test_closing_early_ends_a_thread_that_waits_for_room() -> None:
    with ReadAhead(Failing()) as ahead:
        assert len(ahead.read(10)) == 10
    assert own_threads() == 0


def test_cancelling() -> None:
    token = CancelToken()
    with ReadAhead(Failing(), token) as ahead:
        ahead.read(10)
        token.cancel()
        with pytest.raises(Cancelled):
            ahead.read(10)
    assert own_threads() == 0


def packed() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("x")
        member.size = len(DATA)
        archive.addfile(member, io.BytesIO(DATA))
    return out.getvalue()


def unpack(root: Path, blob: bytes, diff_id: Digest, cancel: CancelToken | None = None) -> None:
    descriptor = Descriptor(
        "application/vnd.oci.image.layer.v1.tar+gzip", sha256(blob), len(blob)
    )  # fmt: skip
    unpack_blob(
        io.BytesIO(blob), Layer(descriptor, diff_id), str(root), Ownership.IGNORE, cancel=cancel
    )


@pytest.mark.parametrize("tail", [b"", b"behind the archive's end" * 200_000])
def test_layers_are_verified_to_their_end(tmp_path: Path, tail: bytes) -> None:
    tar = packed() + tail
    blob = gzip.compress(tar, 1)
    unpack(tmp_path, blob, Digest("sha256", hashlib.sha256(tar).hexdigest()))
    assert (tmp_path / "x").read_bytes() == DATA
    with pytest.raises(UsageError, match="cannot unpack") as wrong:
        unpack(tmp_path, blob, sha256(b"another"))
    assert "diff ID" in wrong.value.why
    with pytest.raises(UsageError, match="cannot unpack") as cut:
        unpack(tmp_path, blob[:-100], sha256(tar))
    assert "cut short" in cut.value.why
    assert own_threads() == 0


def test_a_cancelled_layer_leaves_no_thread(tmp_path: Path) -> None:
    token = CancelToken()
    token.cancel()
    tar = packed()
    with pytest.raises(Cancelled):
        unpack(tmp_path, gzip.compress(tar, 1), sha256(tar), token)
    assert own_threads() == 0
