# SPDX-License-Identifier: Apache-2.0
"""Contents taken out of layers: one pass, verified, small ones in memory."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path
from typing import BinaryIO

import pytest
import zstandard

from layer_samples import Piece, packed
from wherry.errors import BuildError, MachineError
from wherry.fstree.contents import open_content
from wherry.fstree.extract import extract
from wherry.fstree.layer_index import LayerIndex, read_index
from wherry.fstree.limits import Limits
from wherry.fstree.tar import write_tar
from wherry.fstree.tree import Content, File, InLayer, Inline, Opened, make_tree
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import LAYER_GZIP, LAYER_TAR, Descriptor
from wherry.oci.media import LAYER_ZSTD
from wherry.process.cancel import Cancelled, CancelToken

LARGE = os.urandom(300_000)
PIECES = [
    Piece("small", data=b"hello"),
    Piece("large", data=LARGE),
    Piece("again", data=LARGE),
    Piece("zeros", data=bytes(2_000_000)),
    Piece("last", data=b"end"),
]
TAR = packed(PIECES)


class Blobs:
    """Blobs by digest, which counts how often each is opened."""

    def __init__(self, *blobs: bytes) -> None:
        self.by_digest = {sha256(blob): blob for blob in blobs}
        self.opened: list[Digest] = []

    def open(self, digest: Digest) -> BinaryIO:
        self.opened.append(digest)
        return io.BytesIO(self.by_digest[digest])


def contents(index: LayerIndex) -> dict[str, InLayer]:
    return {
        entry.path: entry.content
        for entry in index.entries
        if isinstance(entry, File) and isinstance(entry.content, InLayer)
    }


def indexed(blob: bytes, media_type: str = LAYER_TAR, tar: bytes = TAR) -> dict[str, InLayer]:
    descriptor = Descriptor(media_type, sha256(blob), len(blob))
    return contents(read_index(io.BytesIO(tar), descriptor, Limits()))


def bytes_of(content: Content) -> bytes:
    with open_content(content) as file:
        return file.read()


FORMS = {
    LAYER_TAR: TAR,
    LAYER_GZIP: gzip.compress(TAR, 1),
    LAYER_ZSTD: zstandard.ZstdCompressor().compress(TAR),
}


@pytest.mark.parametrize("media_type", FORMS)
def test_every_content_comes_out_of_every_kind_of_layer(tmp_path: Path, media_type: str) -> None:
    blob = FORMS[media_type]
    blobs, wanted = Blobs(blob), indexed(blob, media_type)
    # In no order, and some twice.
    asked = [*reversed(wanted.values()), wanted["small"]]
    found = extract(blobs.open, asked, str(tmp_path), CancelToken())
    assert blobs.opened == [sha256(blob)]
    assert set(found) == set(wanted.values())
    for piece in PIECES:
        content = found[wanted[piece.name]]
        assert bytes_of(content) == piece.data
        assert (content.size, content.digest) == (len(piece.data), sha256(piece.data))
    assert isinstance(found[wanted["small"]], Inline)
    assert isinstance(found[wanted["large"]], Opened)
    assert len(os.listdir(tmp_path)) == 1


def test_what_comes_out_can_be_written(tmp_path: Path) -> None:
    wanted = indexed(TAR)
    found = extract(Blobs(TAR).open, wanted.values(), str(tmp_path), CancelToken())
    files = [File(path, found[place]) for path, place in wanted.items()]
    out, inline = io.BytesIO(), io.BytesIO()
    write_tar(make_tree(files), out.write, 0)
    write_tar(make_tree(File(piece.name, Inline(piece.data)) for piece in PIECES), inline.write, 0)
    assert out.getvalue() == inline.getvalue()
    (spooled,) = tmp_path.iterdir()
    data = bytearray(spooled.read_bytes())
    data[-1] ^= 1
    spooled.write_bytes(data)
    with pytest.raises(BuildError, match="changed while it was read"):
        write_tar(make_tree(files), io.BytesIO().write, 0)


def test_small_contents_leave_no_file_and_read_no_further(tmp_path: Path) -> None:
    wanted = indexed(TAR)
    cut = TAR[: wanted["small"].offset + 5]
    found = extract(lambda _: io.BytesIO(cut), [wanted["small"]], str(tmp_path), CancelToken())
    assert found == {wanted["small"]: Inline(b"hello")}
    assert os.listdir(tmp_path) == []
    assert extract(Blobs().open, [], str(tmp_path), CancelToken()) == {}


def test_memory_is_bounded(tmp_path: Path) -> None:
    pieces = [Piece(f"{number}", data=b"%04d" % number * 4000) for number in range(2200)]
    tar = packed(pieces)
    found = extract(Blobs(tar).open, indexed(tar, tar=tar).values(), str(tmp_path), CancelToken())
    held = sum(content.size for content in found.values() if isinstance(content, Inline))
    assert 30 << 20 < held <= 32 << 20
    assert sum(content.size for content in found.values()) == 2200 * 16_000


def test_several_layers_are_each_read_once(tmp_path: Path) -> None:
    other = packed([Piece("x", data=LARGE[:100_000])])
    blobs = Blobs(TAR, other)
    wanted = [*indexed(TAR).values(), *indexed(other, tar=other).values()]
    found = extract(blobs.open, wanted, str(tmp_path), CancelToken())
    assert sorted(blobs.opened) == sorted([sha256(TAR), sha256(other)])
    assert bytes_of(found[wanted[-1]]) == LARGE[:100_000]
    again = extract(blobs.open, wanted[-1:], str(tmp_path), CancelToken())
    assert bytes_of(again[wanted[-1]]) == LARGE[:100_000]
    assert len(os.listdir(tmp_path)) == 2


def damaged(item: InLayer, **changes: object) -> InLayer:
    return item._replace(**changes)  # type: ignore[arg-type] # the tests name fields


@pytest.mark.parametrize("name", ["small", "large"])
def test_a_blob_that_is_not_what_its_index_says(tmp_path: Path, name: str) -> None:
    item = indexed(TAR)[name]
    data = bytearray(TAR)
    data[item.offset] ^= 1
    with pytest.raises(MachineError, match="is damaged") as caught:
        extract(lambda _: io.BytesIO(data), [item], str(tmp_path), CancelToken())
    assert str(item.digest) in caught.value.why
    cut = TAR[: item.offset + 2]
    with pytest.raises(MachineError, match="is damaged"):
        extract(lambda _: io.BytesIO(cut), [item], str(tmp_path), CancelToken())
    with pytest.raises(MachineError, match="is damaged"):
        extract(lambda _: io.BytesIO(gzip.compress(TAR)[:-200_000]), [item, indexed(TAR)["last"]],
                str(tmp_path), CancelToken())  # fmt: skip


def test_an_index_that_cannot_be(tmp_path: Path) -> None:
    item = indexed(TAR)["large"]
    twice = [item, damaged(item, offset=item.offset + 1)]
    with pytest.raises(MachineError, match="is damaged"):
        extract(Blobs(TAR).open, twice, str(tmp_path), CancelToken())


def test_a_directory_that_refuses(tmp_path: Path) -> None:
    wanted = indexed(TAR)
    with pytest.raises(MachineError, match="cannot keep the files"):
        extract(Blobs(TAR).open, wanted.values(), str(tmp_path / "none"), CancelToken())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this machine has no /dev/full")
def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mkstemp(**_where: object) -> tuple[int, str]:
        return os.open("/dev/full", os.O_WRONLY), "/dev/full"

    monkeypatch.setattr("wherry.fstree.spool.tempfile.mkstemp", mkstemp)
    # The second one fails only when what was gathered is written at the end.
    for size in (2_000_000, 20_000):
        tar = packed([Piece("x", data=bytes(size))])
        with pytest.raises(MachineError, match="cannot keep the files") as caught:
            wanted = indexed(tar, tar=tar).values()
            extract(Blobs(tar).open, wanted, str(tmp_path), CancelToken())
        assert "No space left" in caught.value.why


def test_cancelling_stops_it(tmp_path: Path) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        extract(Blobs(TAR).open, indexed(TAR).values(), str(tmp_path), cancel)
