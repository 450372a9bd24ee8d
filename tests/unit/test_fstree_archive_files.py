# SPDX-License-Identifier: Apache-2.0
"""Archives as file trees: every compression, hostile ones, what Python's tarfile makes of them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import tempfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from layer_samples import MTIME, Piece, packed
from wherry.errors import MachineError, UsageError
from wherry.fstree.archive_files import HEAD, ArchiveFiles, is_archive
from wherry.fstree.contents import open_content
from wherry.fstree.limits import Limits
from wherry.fstree.tree import Directory, File, HardLink, Inline, Opened, Special, Symlink
from wherry.oci.digest import sha256
from wherry.process.cancel import Cancelled, CancelToken

LARGE = os.urandom(40_000)
TAR = packed(
    [
        Piece("./", "dir", mode=0o700),
        Piece("./d/x", data=b"hello", mode=0o600, uid=5),
        Piece("d/y", "hard", link="d/x"),
        Piece("l", "link", link="/d"),
        Piece("l/z", data=LARGE),
        Piece("null", "char"),
        Piece(".wh.gone", data=b"no whiteout"),
        Piece("d/x", data=b"again"),
    ]
)
SKIPPABLE = b"\x5a\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"table"
FORMS = {
    "plain": TAR,
    "gzip": gzip.compress(TAR, mtime=0),
    "gzip members": gzip.compress(TAR[:700], mtime=0) + gzip.compress(TAR[700:], mtime=0),
    "bzip2": bz2.compress(TAR),
    "bzip2 streams": bz2.compress(TAR[:700]) + bz2.compress(TAR[700:]),
    "xz": lzma.compress(TAR),
    "xz streams": lzma.compress(TAR[:700]) + bytes(8) + lzma.compress(TAR[700:]) + bytes(4),
    "zstd": zstandard.ZstdCompressor().compress(TAR),
    "zstd skippable": SKIPPABLE + zstandard.ZstdCompressor().compress(TAR),
}


def files_of(data: bytes, directory: Path | str, limits: Limits | None = None) -> ArchiveFiles:
    return ArchiveFiles(io.BytesIO(data), str(directory), limits)


def bytes_of(entry: object) -> bytes:
    assert isinstance(entry, File)
    with open_content(entry.content) as file:
        return file.read()


@pytest.mark.parametrize("form", FORMS)
def test_every_compression(tmp_path: Path, form: str) -> None:
    files = files_of(FORMS[form], tmp_path)
    assert files.names("") == (".wh.gone", "d", "l", "null")
    assert files.names("d") == ("x", "y", "z")
    # The archive's own root says nothing; a directory that has no entry is root's.
    assert files.entry("") == Directory("")
    assert files.entry("d") == Directory("d")
    assert files.entry("l") == Symlink("l", "/d", mtime=MTIME)
    assert files.entry("null") == Special("null", "char", 1, 3, mtime=MTIME)
    assert files.entry("none") is None
    assert bytes_of(files.entry("d/x")) == b"again"
    assert bytes_of(files.entry("d/y")) == b"hello"
    assert isinstance(kept := files.entry("d/y"), File)
    assert (kept.mode, kept.uid, files.digest(kept)) == (0o600, 5, sha256(b"hello"))
    assert isinstance(large := files.entry("d/z"), File)
    assert isinstance(large.content, Opened)
    assert bytes_of(large) == LARGE
    assert large.content.digest == sha256(LARGE)


def test_the_entries_stand_in_the_archives_order(tmp_path: Path) -> None:
    entries = files_of(TAR, tmp_path).entries
    assert [entry.path for entry in entries] == [
        "", "d/x", "d/y", "l", "l/z", "null", ".wh.gone", "d/x",
    ]  # fmt: skip
    assert entries[0] == Directory("", 0o700, mtime=MTIME)
    assert entries[2] == HardLink("d/y", "d/x", MTIME)
    assert entries[7] == File("d/x", Inline(b"again"), mtime=MTIME)


def test_a_link_to_what_only_the_destination_has(tmp_path: Path) -> None:
    files = files_of(packed([Piece("h", "hard", link="elsewhere")]), tmp_path)
    assert files.entries == (HardLink("h", "elsewhere", MTIME),)
    with pytest.raises(UsageError, match="which is no file here"):
        files.entry("h")


@pytest.mark.parametrize("form", FORMS)
def test_archives_are_known_by_their_first_bytes(form: str) -> None:
    data = FORMS[form]
    assert is_archive(data)
    assert is_archive(data[:512])


NO_TAR = b"just some text, which is no archive at all\n" * 100


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"FROM scratch\n",
        NO_TAR,
        bytes(10_240),
        TAR[:511],
        b"\x1f\x8b\x08",
        b"BZh9" + NO_TAR,
        lzma.compress(TAR)[:6] + NO_TAR,
        b"\x28\xb5\x2f\xfd" + NO_TAR,
        b"\x1f\x8b\x08" + b"\xff" * 700,
        gzip.compress(NO_TAR, mtime=0),
        gzip.compress(b"short", mtime=0),
        bz2.compress(NO_TAR),
        lzma.compress(NO_TAR),
        zstandard.ZstdCompressor().compress(NO_TAR),
        bz2.compress(os.urandom(1 << 20))[:HEAD],
    ],
)
def test_other_data_are_no_archive(data: bytes) -> None:
    # Three bytes of a compressed file tell nothing yet.
    assert is_archive(data) == (data == b"\x1f\x8b\x08")


def test_a_head_that_is_a_bomb_costs_nothing() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 29))
    assert not is_archive(bomb)
    assert not is_archive(gzip.compress(bytes(1 << 24)))


@pytest.mark.parametrize("form", [form for form in FORMS if form != "plain"])
def test_compressed_data_that_are_cut_or_damaged(tmp_path: Path, form: str) -> None:
    data = FORMS[form]
    for at in (len(data) // 2, len(data) - 9):
        with pytest.raises(UsageError, match="cannot unpack an archive"):
            files_of(data[:at], tmp_path)
    with pytest.raises(UsageError):
        files_of(data[: len(data) // 2] + b"\xff\0\xff" * 20 + data[len(data) // 2 :], tmp_path)
    with pytest.raises(UsageError, match="cannot unpack an archive"):
        files_of(data + b"more", tmp_path)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    for data in (NO_TAR, b"", gzip.compress(NO_TAR)):
        with pytest.raises(UsageError, match="cannot unpack an archive"):
            files_of(data, tmp_path)
    assert files_of(bytes(1024), tmp_path).names("") == ()


@pytest.mark.parametrize(
    "piece",
    [Piece("../x"), Piece("a/../../x"), Piece("h", "hard", link="../x"), Piece("n" * 300)],
)
def test_nothing_leads_out(tmp_path: Path, piece: Piece) -> None:
    with pytest.raises(UsageError, match="cannot unpack an archive"):
        files_of(packed([piece]), tmp_path / ".")
    assert list(tmp_path.iterdir()) == []


def test_limits(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        files_of(TAR, tmp_path, Limits(entries=7))
    assert "more than 7 entries" in caught.value.why
    assert "--unpack-limit" in caught.value.hint
    bomb = gzip.compress(packed([Piece("x", data=bytes(50 << 20))]), 1)
    with pytest.raises(UsageError) as caught:
        files_of(bomb, tmp_path, Limits(bytes=10 << 20))
    assert "more than 10485760 bytes" in caught.value.why
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 10 << 20


def test_a_bomb_is_noticed_by_its_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.fstree.limits._FREE", 1 << 20)
    bomb = gzip.compress(packed([Piece("x", data=bytes(80 << 20))]), 9)
    with pytest.raises(UsageError) as caught:
        files_of(bomb, tmp_path)
    assert "200 times its size" in caught.value.why
    assert len(files_of(bomb, tmp_path, Limits.up_to(1 << 30)).entries) == 1


def test_bytes_behind_the_end_count_too(tmp_path: Path) -> None:
    data = TAR + bytes(4 << 20)
    assert files_of(data, tmp_path).names("d")
    with pytest.raises(UsageError):
        files_of(data, tmp_path, Limits(bytes=1 << 20))


def test_huge_windows_of_xz_are_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 29}]
    data = lzma.compress(TAR, format=lzma.FORMAT_XZ, filters=filters)
    with pytest.raises(UsageError) as caught:
        files_of(data, tmp_path)
    assert "emory" in caught.value.why


def test_cancelling_stops_it(tmp_path: Path) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        ArchiveFiles(io.BytesIO(TAR), str(tmp_path), None, cancel)


def test_a_directory_that_refuses(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot keep the files"):
        files_of(TAR, tmp_path / "none")


def test_a_python_without_a_compression(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bz2", None)
    with pytest.raises(MachineError, match="cannot unpack the archive"):
        files_of(FORMS["bzip2"], tmp_path)


TEXT = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1,
               max_size=60).filter(lambda name: name not in (".", ".."))  # fmt: skip
PATHS = st.lists(TEXT, min_size=1, max_size=3).map("/".join)
PLAIN = st.sampled_from(["a", "b", "a/b", "b/c", "c"])
COMPRESS = st.sampled_from([bytes, gzip.compress, bz2.compress, lzma.compress])


@st.composite
def some_pieces(draw: st.DrawFn) -> list[Piece]:
    """Distinct paths, none of which passes anything but a directory."""
    found: dict[str, Piece] = {}
    for path in draw(st.lists(PLAIN | PATHS, max_size=8, unique=True)):
        kind = draw(st.sampled_from(["file", "file", "dir", "link"]))
        above = [path.rsplit("/", number)[0] for number in range(1, path.count("/") + 1)]
        if any(found[at].kind != "dir" for at in above if at in found):
            continue
        if kind != "dir" and any(other.startswith(f"{path}/") for other in found):
            continue
        found[path] = Piece(
            path, kind, draw(st.binary(max_size=600) | st.just(LARGE)), draw(PATHS),
            draw(st.integers(0, 0o7777)), draw(st.integers(0, 2**31)), draw(st.integers(0, 2**31)),
            draw(st.integers(0, 2**33)),
        )  # fmt: skip
    return list(found.values())


@settings(max_examples=150, deadline=None)
@given(pieces=some_pieces(), compress=COMPRESS,
       form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))  # fmt: skip
def test_the_files_are_those_that_tarfile_sees(
    pieces: list[Piece], compress: object, form: int
) -> None:
    data = packed(pieces, form)
    assert callable(compress)
    with tempfile.TemporaryDirectory() as directory:
        files = files_of(compress(data), directory)
        with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
            for member in archive:
                entry = files.entry(member.name)
                match entry:
                    case File():
                        content = archive.extractfile(member)
                        assert content is not None
                        assert bytes_of(entry) == content.read()
                        assert (entry.mode, entry.mtime) == (member.mode, member.mtime)
                    case Directory():
                        assert member.isdir()
                        assert (entry.mode, entry.mtime) == (member.mode, member.mtime)
                    case Symlink():
                        assert (member.issym(), entry.target) == (True, member.linkname)
                    case _:
                        raise AssertionError(entry)
                assert (entry.uid, entry.gid) == (member.uid, member.gid)
                assert member.name.rpartition("/")[2] in files.names(member.name.rpartition("/")[0])
        assert len(files.entries) == len(pieces)
