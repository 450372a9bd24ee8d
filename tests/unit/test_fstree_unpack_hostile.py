# SPDX-License-Identifier: Apache-2.0
"""Layers made to do harm: nothing outside is touched, every refusal is an error of ours."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.errors import UsageError, WherryError
from wherry.fstree.unpack import Ownership, unpack_layer


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.mode = 0o755
    return info


def packed(*members: tarfile.TarInfo, content: bytes = b"evil") -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info in members:
            if info.type == tarfile.REGTYPE:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                archive.addfile(info)
    out.seek(0)
    return out


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A root with a neighbour that must stay as it is."""
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    (outside / "secret").write_bytes(b"secret")
    os.utime(outside, (1, 1))
    (tmp_path / "root").mkdir()
    names = sorted(os.listdir(tmp_path))
    yield tmp_path / "root"
    assert sorted(os.listdir(tmp_path)) == names
    assert os.listdir(outside) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"
    assert (outside / "secret").stat().st_nlink == 1
    assert stat.S_IMODE(outside.stat().st_mode) == 0o700
    assert outside.stat().st_mtime == 1


def unpack(root: Path, stream: BinaryIO) -> None:
    unpack_layer(stream, str(root), Ownership.IGNORE)


@pytest.mark.parametrize(
    "name", ["../outside/x", "a/../../outside/x", "..", "a/..", "/../outside/x", "../.wh.outside"]
)
def test_dots_never_lead_out(root: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot unpack"):
        unpack(root, packed(member(name)))
    assert os.listdir(root) == []


def test_absolute_names_are_taken_below_the_root(root: Path) -> None:
    inside = str(root.parent / "outside" / "secret")
    unpack(root, packed(member(inside)))
    assert (root / inside.lstrip("/")).read_bytes() == b"evil"


LINKS_OUT = ["../outside", "../../../../../../outside", "a/../../outside", "{absolute}"]


@pytest.mark.parametrize("target", LINKS_OUT)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE])
def test_nothing_is_written_through_a_link(root: Path, target: str, kind: bytes) -> None:
    target = target.format(absolute=root.parent / "outside")
    link = member("out", tarfile.SYMTYPE, target)
    unpack(root, packed(member("a", tarfile.DIRTYPE), link, member("out/x", kind, "y")))


@pytest.mark.parametrize("target", LINKS_OUT)
def test_a_link_in_the_last_place_is_replaced_not_followed(root: Path, target: str) -> None:
    target = target.format(absolute=root.parent / "outside")
    secret = member("x", tarfile.SYMTYPE, f"{target}/secret")
    unpack(root, packed(secret, member("x")))
    assert (root / "x").read_bytes() == b"evil"
    directory = member("d", tarfile.SYMTYPE, target)
    unpack(root, packed(directory, member("d", tarfile.DIRTYPE), member("d/y")))
    assert not (root / "d").is_symlink()


@pytest.mark.parametrize("target", LINKS_OUT)
@pytest.mark.parametrize("mark", [".wh.secret", ".wh..wh..opq"])
def test_whiteouts_do_not_reach_through_links(root: Path, target: str, mark: str) -> None:
    target = target.format(absolute=root.parent / "outside")
    link = member("out", tarfile.SYMTYPE, target)
    unpack(root, packed(link, member(f"out/{mark}")))


@pytest.mark.parametrize("mark", [".wh.", ".wh..", ".wh..."])
def test_whiteouts_of_no_name_are_refused(root: Path, mark: str) -> None:
    with pytest.raises(UsageError):
        unpack(root, packed(member("a", tarfile.DIRTYPE), member(f"a/{mark}")))


@pytest.mark.parametrize(
    "target", ["../outside/secret", "out/secret", "link", "{absolute}/secret", "", ".", "a", "none"]
)
def test_hard_links_lead_to_files_inside_only(root: Path, target: str) -> None:
    outside = root.parent / "outside"
    target = target.format(absolute=outside)
    layer = packed(
        member("a", tarfile.DIRTYPE),
        member("out", tarfile.SYMTYPE, str(outside)),
        member("link", tarfile.SYMTYPE, str(outside / "secret")),
        member("hard", tarfile.LNKTYPE, target),
        member("hard"),
    )
    if target == "link":
        unpack(root, layer)  # a second name of the link itself, then replaced
        assert (root / "hard").read_bytes() == b"evil"
        assert (root / "link").is_symlink()
    else:
        with pytest.raises(UsageError, match="cannot unpack"):
            unpack(root, layer)


def test_a_hard_link_to_itself_changes_nothing(root: Path) -> None:
    unpack(root, packed(member("x"), member("x", tarfile.LNKTYPE, "x")))
    assert (root / "x").read_bytes() == b"evil"


def test_writing_a_file_anew_leaves_its_other_name_alone(root: Path) -> None:
    unpack(root, packed(member("x"), member("y", tarfile.LNKTYPE, "x")))
    unpack(root, packed(member("x"), content=b"new"))
    assert (root / "y").read_bytes() == b"evil"


def test_links_in_a_circle_end(root: Path) -> None:
    one, two = member("a", tarfile.SYMTYPE, "b"), member("b", tarfile.SYMTYPE, "a")
    with pytest.raises(UsageError, match="cannot unpack") as caught:
        unpack(root, packed(one, two, member("a/x")))
    assert "too many links" in caught.value.why


def test_absurd_depth_ends(root: Path) -> None:
    with pytest.raises(UsageError) as caught:
        unpack(root, packed(member("d/" * 1000 + "x")))
    assert "too many" in caught.value.why


def test_a_file_is_no_directory(root: Path) -> None:
    with pytest.raises(UsageError):
        unpack(root, packed(member("x"), member("x/y")))


@pytest.mark.parametrize("name", ["n" * 300, "n" * 70_000])
def test_overlong_names(root: Path, name: str) -> None:
    with pytest.raises(UsageError):
        unpack(root, packed(member(name)))


def with_records(**records: str) -> tarfile.TarInfo:
    info = member("x")
    info.pax_headers = records
    return info


@pytest.mark.parametrize("mtime", ["nan", "inf", "-inf", "-1", "1e300", "99999999999999999999"])
def test_absurd_times_are_bounded(root: Path, mtime: str) -> None:
    unpack(root, packed(with_records(mtime=mtime)))
    assert (root / "x").stat().st_mtime >= 0


@pytest.mark.parametrize("uid", ["-1", "4294967295", "99999999999999999999"])
def test_absurd_owners_are_refused(root: Path, uid: str) -> None:
    with pytest.raises(UsageError):
        unpack(root, packed(with_records(uid=uid)))


@pytest.mark.parametrize("record", ["path", "linkpath"])
def test_nul_in_names(root: Path, record: str) -> None:
    kind = tarfile.SYMTYPE if record == "linkpath" else tarfile.REGTYPE
    info = member("x", kind, "y")
    info.pax_headers = {record: "a\0b"}
    with pytest.raises(UsageError):
        unpack(root, packed(info))


def test_an_attribute_that_has_no_name_is_left_out(root: Path) -> None:
    info = with_records(**{"SCHILY.xattr.user.a\0b": "1", "SCHILY.xattr.": "2"})
    skipped = unpack_layer(packed(info), str(root), Ownership.IGNORE)
    assert [item.path for item in skipped] == ["x", "x"]


def test_a_header_cannot_eat_the_memory(root: Path) -> None:
    info = member("pax", tarfile.XHDTYPE)
    info.size = 1 << 40
    header = info.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(UsageError, match="cannot unpack"):
        unpack(root, io.BytesIO(header + bytes(4096)))


def test_a_sparse_file_cannot_fill_the_disk(root: Path) -> None:
    records = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.name": "x",
               "GNU.sparse.size": str(1 << 50), "GNU.sparse.map": "0,0"}  # fmt: skip
    with pytest.raises(UsageError) as caught:
        unpack(root, packed(with_records(**records)))
    assert "sparse" in caught.value.why


def test_many_extended_headers_in_a_row(root: Path) -> None:
    one = packed(with_records(comment="c")).getvalue()[:1024]
    with pytest.raises(UsageError):
        unpack(root, io.BytesIO(one * 5000 + bytes(1024)))


def test_damage_below_the_archive_is_the_inputs_fault(root: Path) -> None:
    whole = gzip.compress(packed(member("x"), content=os.urandom(50_000)).getvalue())
    for data in (whole[:-1000], whole[:20_000], whole[:20] + b"\xff" * 50 + whole[70:]):
        with (
            gzip.open(io.BytesIO(data)) as stream,
            pytest.raises(UsageError, match="cannot unpack"),
        ):
            unpack(root, cast("BinaryIO", stream))


SEED = packed(
    member("d", tarfile.DIRTYPE),
    member("d/x"),
    member("d/l", tarfile.SYMTYPE, "../../outside"),
    with_records(comment="\xe9", path="d/\xe9"),
    member("h", tarfile.LNKTYPE, "d/x"),
    member("n" * 150),
).getvalue()


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


@settings(max_examples=300, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.integers(0, 255)), max_size=8),
    keep=st.integers(0, len(SEED)),
)
def test_damaged_archives_raise_errors_of_ours_only(
    changes: list[tuple[int, int]], keep: int
) -> None:
    data = bytearray(SEED)
    for at, value in changes:
        data[at] = value
    with tempfile.TemporaryDirectory() as base:
        inner = Path(base, "inner")
        inner.mkdir()
        with contextlib.suppress(WherryError):
            unpack(inner, io.BytesIO(with_checksums(bytes(data))[: max(keep, 512)]))
        assert os.listdir(base) == ["inner"]


@pytest.mark.parametrize(
    ("mtime", "expected"),
    [
        ("1600000000.123456789", 1_600_000_000_123_456_789),
        ("1600000000.5", 1_600_000_000_500_000_000),
        ("1600000000.1234567899", 1_600_000_000_123_456_789),
        ("1600000000", 1_600_000_000_000_000_000),
        ("1e9", 1_000_000_000_000_000_000),
        ("-0.5", 0),
    ],
)
def test_parts_of_seconds_are_kept(root: Path, mtime: str, expected: int) -> None:
    unpack(root, packed(with_records(mtime=mtime)))
    assert (root / "x").stat().st_mtime_ns == expected
