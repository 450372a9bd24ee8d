# SPDX-License-Identifier: Apache-2.0
"""Tars by hand, good and bad, for tests of what reads layers and archives."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from typing import NamedTuple

from wherry.fstree.layer_index import LayerIndex, read_index
from wherry.fstree.limits import Limits
from wherry.oci.digest import sha256
from wherry.oci.image import LAYER_TAR, Descriptor

MTIME = 1_600_000_000
KINDS = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "link": tarfile.SYMTYPE,
    "hard": tarfile.LNKTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
}


class Piece(NamedTuple):
    """One entry of a tar; `kind` is a key of `KINDS`."""

    name: str
    kind: str = "file"
    data: bytes = b""
    link: str = ""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: float = MTIME
    records: tuple[tuple[str, str], ...] = ()


def packed(pieces: Iterable[Piece], form: int = tarfile.PAX_FORMAT) -> bytes:
    """The tar of `pieces`, as Python writes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as archive:
        for piece in pieces:
            member = tarfile.TarInfo(piece.name)
            member.type, member.linkname = KINDS[piece.kind], piece.link
            member.mode, member.mtime = piece.mode, piece.mtime
            member.uid, member.gid = piece.uid, piece.gid
            member.devmajor, member.devminor = (1, 3) if piece.kind in ("char", "block") else (0, 0)
            member.pax_headers = dict(piece.records)
            member.size = len(piece.data) if piece.kind == "file" else 0
            archive.addfile(member, io.BytesIO(piece.data))
    return out.getvalue()


def descriptor(data: bytes) -> Descriptor:
    """An uncompressed layer's."""
    return Descriptor(LAYER_TAR, sha256(data), len(data))


def index_of(*pieces: Piece) -> LayerIndex:
    """The index of the layer that `pieces` make."""
    data = packed(pieces)
    return read_index(io.BytesIO(data), descriptor(data), Limits())


def with_checksums(data: bytes) -> bytes:
    """Mend the checksum of each block that may be a header, so that damage reaches the parser."""
    blocks = []
    for start in range(0, len(data), 512):
        block = data[start : start + 512]
        if block[257:262] == b"ustar" and len(block) == 512:
            total = sum(block[:148]) + sum(block[156:]) + 256
            block = block[:148] + b"%06o\0 " % total + block[156:]
        blocks.append(block)
    return b"".join(blocks)
