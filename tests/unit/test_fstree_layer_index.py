# SPDX-License-Identifier: Apache-2.0
"""Layers read into indexes: what Python's tarfile sees, whiteouts, hostile tars, encoding."""

from __future__ import annotations

import io
import math
import tarfile
import tempfile
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer_samples import MTIME, Piece, descriptor, index_of, packed, with_checksums
from strict_tarfile import read_members
from wherry.errors import InternalError, UsageError
from wherry.fstree.layer_index import (
    LayerIndex,
    PassingIndex,
    Removal,
    decode_index,
    encode_index,
    index_of_tree,
    read_index,
)
from wherry.fstree.limits import Limits
from wherry.fstree.members import Member, Members
from wherry.fstree.tar import write_tar
from wherry.fstree.tree import (
    Directory,
    Entry,
    File,
    HardLink,
    InLayer,
    Inline,
    OnDisk,
    Special,
    Symlink,
    make_tree,
)
from wherry.fstree.unpack import Extras, Ownership, unpack_layer
from wherry.oci.digest import sha256
from wherry.oci.image import LAYER_GZIP, Descriptor

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


def read(data: bytes, limits: Limits | None = None) -> LayerIndex:
    return read_index(io.BytesIO(data), descriptor(data), limits or Limits())


def test_every_kind_of_entry() -> None:
    data = packed([
        Piece("./", "dir", mode=0o711),
        Piece("d/", "dir", mode=0o2750, uid=3, gid=4),
        Piece("d/x", data=b"hello", mode=0o4755, uid=1, gid=2, mtime=7.9),
        Piece("d/y", "hard", link="./d/x"),
        Piece("d/l", "link", link="../x", uid=5),
        Piece("null", "char", mode=0o666),
        Piece("sda", "block"),
        Piece("pipe", "fifo", gid=6),
        Piece("empty"),
    ])  # fmt: skip
    blob = descriptor(data)
    found = read(data).entries
    assert isinstance(file := found[2], File)
    assert isinstance(place := file.content, InLayer)
    assert data[place.offset : place.offset + place.size] == b"hello"
    assert place == InLayer(blob.digest, blob.media_type, place.offset, 5, sha256(b"hello"))
    assert found == (
        Directory("", 0o711, mtime=MTIME),
        Directory("d", 0o2750, 3, 4, mtime=MTIME),
        File("d/x", place, 0o4755, 1, 2, mtime=7),
        HardLink("d/y", "d/x", MTIME),
        Symlink("d/l", "../x", 5, mtime=MTIME),
        Special("null", "char", 1, 3, 0o666, mtime=MTIME),
        Special("sda", "block", 1, 3, mtime=MTIME),
        Special("pipe", "fifo", gid=6, mtime=MTIME),
        File("empty", Inline(b""), mtime=MTIME),
    )


def test_attributes_come_as_they_were_written() -> None:
    tree = make_tree([File("x", Inline(b""), xattrs=(("security.capability", CAPABILITY),)),
                      Directory("d", xattrs=(("user.\xe9", b"\n=\0\xff"),)),
                      Symlink("l", "x", xattrs=(("trusted.x", b"1"),))])  # fmt: skip
    out = io.BytesIO()
    write_tar(tree, out.write, MTIME)
    assert read(out.getvalue()) == index_of_tree(tree, descriptor(out.getvalue()), MTIME)
    odd = Piece("x", records=(("SCHILY.xattr.", "1"), ("SCHILY.xattr.user.a", "2")))
    (entry,) = index_of(odd).entries
    assert isinstance(entry, File)
    assert entry.xattrs == (("user.a", b"2"),)


def test_whiteouts_and_where_they_stood() -> None:
    found = index_of(
        Piece("a/.wh.x"), Piece("b"), Piece("a/.wh..wh..opq"), Piece(".wh.c"), Piece(".wh..wh..opq")
    )
    assert found.whiteouts == ("a/x", "c")
    assert found.opaque == ("a", "")
    assert list(found.changes()) == [
        Removal("a/x"),
        File("b", Inline(b""), mtime=MTIME),
        Removal("a", only_below=True),
        Removal("c"),
        Removal("", only_below=True),
    ]


def test_bookkeeping_of_aufs_is_left_out() -> None:
    found = index_of(Piece(".wh..wh.plnk", "dir"), Piece(".wh..wh.plnk/1.2"), Piece("x"))
    assert [entry.path for entry in found.entries] == ["x"]
    assert list(found.changes()) == list(found.entries)


def test_the_password_files_are_kept() -> None:
    found = index_of(
        Piece("./etc/passwd", data=b"root:x"),
        Piece("/etc/group", data=b"g" * (1 << 17)),
        Piece("x/etc/passwd", data=b"1"),
    )
    kinds = [type(entry.content) for entry in found.entries if isinstance(entry, File)]
    assert kinds == [Inline, InLayer, InLayer]


@pytest.mark.parametrize("mark", [".wh.", ".wh..", ".wh...", "a/.wh."])
def test_whiteouts_of_no_name_are_refused(mark: str) -> None:
    with pytest.raises(UsageError, match="cannot read the layer") as caught:
        index_of(Piece(mark))
    assert "removes nothing" in caught.value.why


@pytest.mark.parametrize(
    ("piece", "why"),
    [
        (Piece("../x"), "leads out"),
        (Piece("a/../b"), "leads out"),
        (Piece("h", "hard", link="../x"), "leads out"),
        (Piece("h", "hard", link="/"), "no file"),
        (Piece("l", "link", link=""), "is a link to"),
        (Piece("l", "link", link="x" * 5000), "is a link to"),
        (Piece("n" * 256), "too long"),
        (Piece("\xe9" * 128), "too long"),
        (Piece("n/" * 2500), "too long"),
        (Piece("/"), "without a name"),
        (Piece("x", uid=2**32 - 1), "belongs to"),
        (Piece("x", records=(("uid", "-1"),)), "uid of an entry"),
        (Piece("x", records=(("gid", "9" * 30),)), "gid of an entry"),
        (Piece("x", records=(("path", "a\0b"),)), "leads out"),
        (Piece("l", "link", link="y", records=(("linkpath", "a\0b"),)), "is a link to"),
        (Piece("x", records=(("GNU.sparse.major", "1"),)), "sparse"),
    ],
)
def test_entries_that_no_tree_holds_are_refused(piece: Piece, why: str) -> None:
    with pytest.raises(UsageError, match="cannot read the layer") as caught:
        index_of(Piece("a", "dir"), piece)
    assert why in caught.value.why
    assert caught.value.hint


@pytest.mark.parametrize("mtime", ["nan", "inf", "-inf", "-1", "1e300", "many"])
def test_absurd_times_are_bounded(mtime: str) -> None:
    (entry,) = index_of(Piece("x", records=(("mtime", mtime),))).entries
    assert entry.mtime is not None
    assert 0 <= entry.mtime <= 253402300799


def test_limits() -> None:
    data = packed([Piece("a"), Piece("b"), Piece("c", data=bytes(5000))])
    assert len(read(data, Limits(entries=3, bytes=len(data))).entries) == 3
    for limits in (Limits(entries=2), Limits(bytes=5000)):
        with pytest.raises(UsageError) as caught:
            read(data, limits)
        assert "more than is allowed" in caught.value.why
        assert "--unpack-limit" in caught.value.hint
    assert Limits.up_to(10**12) == Limits(10**8, 10**12, 0)
    assert Limits.up_to(1) == Limits(1_000_000, 1, 0)


class Zeros(io.RawIOBase):
    """A tar of one huge file, without the work of making it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        info = tarfile.TarInfo("zeros")
        info.size = size
        self._head = info.tobuf()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        piece, self._head = self._head[:size], self._head[size:]
        return piece or bytes(size)


def test_who_unpacks_makes_no_index_beyond_the_limits(tmp_path: Path) -> None:
    data = packed([Piece("a"), Piece("b"), Piece("c", data=bytes(5000))])
    found = []
    for number, limits in enumerate((Limits(), Limits(entries=2), Limits(bytes=4000))):
        made = PassingIndex(descriptor(data), limits)
        extras = Extras(passing=made)
        top = tmp_path / str(number)
        top.mkdir()
        unpack_layer(io.BytesIO(data), str(top), Ownership.IGNORE, extras=extras)
        assert (top / "c").stat().st_size == 5000
        found.append(made.index())
    assert found == [read(data), None, None]


def test_a_bomb_is_noticed_by_its_ratio() -> None:
    tar = Zeros(1 << 40)
    small = Descriptor(LAYER_GZIP, sha256(b""), 1 << 20)
    with pytest.raises(UsageError) as caught:
        read_index(tar, small, Limits())  # type: ignore[arg-type] # only read() counts
    assert "200 times" in caught.value.why


def test_names_are_bounded_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.fstree.tar_entries.MOST_METADATA", 1 << 22)
    name = "/".join(["n" * 240] * 16)
    data = packed([Piece("x", records=(("path", name),))] * 100)
    stream = Repeated(without_end(data), 80)
    with pytest.raises(UsageError) as caught:
        read_index(stream, descriptor(b""), Limits(ratio=0))  # type: ignore[arg-type] # see above
    assert "names in the archive" in caught.value.why


class Repeated(io.RawIOBase):
    """The same bytes again and again."""

    def __init__(self, data: bytes, count: int) -> None:
        super().__init__()
        self._data, self._count, self._file = data, count, io.BytesIO(data)

    def read(self, size: int = -1, /) -> bytes:
        piece = self._file.read(size)
        if not piece and self._count:
            self._count -= 1
            self._file.seek(0)
            piece = self._file.read(size)
        return piece


@pytest.mark.parametrize("cut", [0, 1, 100, 512, 600, 1024, 1100, 1536, 2048])
def test_a_cut_archive_is_refused(cut: int) -> None:
    data = packed([Piece("a", data=b"x" * 700), Piece("b")])[:3072]
    assert len(read(data).entries) == 2
    with pytest.raises(UsageError) as caught:
        read(data[:cut])
    assert "cut short" in caught.value.why


def extension(kind: bytes, body: bytes) -> bytes:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = kind, len(body)
    return info.tobuf(tarfile.GNU_FORMAT) + body + bytes(-len(body) % 512)


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n"
    length = len(body) + 1
    while length != len(f"{length}{body}"):
        length = len(f"{length}{body}")
    return f"{length}{body}".encode()


PLAIN = tarfile.TarInfo("plain").tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        (extension(b"L", b"long\0junk"), "long"),
        (extension(b"x", record("path", "pax")), "pax"),
        (extension(b"L", b"long\0") + extension(b"x", record("path", "pax")), "long"),
        (extension(b"x", record("path", "pax")) + extension(b"L", b"long\0"), "pax"),
        (extension(b"g", record("comment", "c")), "plain"),
        (extension(b"x", b""), "plain"),
    ],
)
def test_extended_headers(headers: bytes, path: str) -> None:
    data = headers + PLAIN + bytes(1024)
    assert [entry.path for entry in read(data).entries] == [path]
    assert [member.name for member, _ in read_members(io.BytesIO(data))] == [path]


@pytest.mark.parametrize(
    "headers",
    [
        extension(b"x", record("a", "b")) * 2,
        extension(b"L", b"a\0") * 2,
        extension(b"x", record("a", "b")) + extension(b"g", record("a", "b")),
        extension(b"g", record("path", "b")),
        extension(b"x", b"9 a=b\n"),
        extension(b"x", b"0 a=b\n"),
        extension(b"x", b" a=b\n"),
        extension(b"x", b"x a=b\n"),
        extension(b"x", b"6 a=bc"),
        extension(b"x", b"5 ab\n"),
        extension(b"x", b"5 =b\n"),
        extension(b"x", b"6 a=b\nrest"),
        extension(b"x", b"99999999999999999999 a=b\n"),
    ],
)
def test_extended_headers_that_do_not_fit_are_refused(headers: bytes) -> None:
    with pytest.raises(UsageError):
        read(headers + PLAIN + bytes(1024))


def test_extended_headers_that_nothing_follows_are_refused() -> None:
    with pytest.raises(UsageError):
        read(extension(b"x", record("a", "b")) + bytes(1024))


def test_a_header_cannot_eat_the_memory() -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    with pytest.raises(UsageError) as caught:
        read(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    assert str(1 << 40) in caught.value.why
    with pytest.raises(UsageError):
        read(
            extension(b"g", record("a", "x" * 600_000))
            + extension(b"g", record("b", "x" * 600_000))
        )


def test_old_directories_and_signed_checksums() -> None:
    info = tarfile.TarInfo("old/")
    info.type = tarfile.AREGTYPE
    assert [type(entry) for entry in read(info.tobuf() + bytes(1024)).entries] == [Directory]
    block = bytearray(tarfile.TarInfo("\xff").tobuf(tarfile.GNU_FORMAT, "latin-1"))
    total = sum(byte - 256 if byte > 127 else byte for byte in (*block[:148], *block[156:])) + 256
    block[148:156] = b"%06o\0 " % total
    assert [entry.path for entry in read(bytes(block) + bytes(1024)).entries] == ["\udcff"]


def facts_of_tarfile(data: bytes) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for member, content in read_members(io.BytesIO(data)):
        kind = b"0" if member.isreg() else member.type
        seconds = member.mtime if math.isfinite(member.mtime) else 0
        xattrs = sorted(
            (key.removeprefix("SCHILY.xattr."), value.encode("utf-8", "surrogateescape"))
            for key, value in member.pax_headers.items()
            if key.startswith("SCHILY.xattr.")
        )
        found.append((
            member.name.strip("/"), kind, member.mode, member.uid, member.gid,
            int(min(max(seconds, 0), 253402300799)), member.linkname, tuple(xattrs),
            b"" if content is None else content.read(), (member.devmajor, member.devminor),
        ))  # fmt: skip
    return found


def facts_of_members(data: bytes) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    members = Members(io.BytesIO(data))
    for member in members:
        assert isinstance(member, Member)
        content = b"".join(members.pieces()) if member.kind == b"0" else b""
        if member.kind == b"0":
            assert content == data[member.offset : member.offset + member.size]
        found.append((
            member.name.strip("/"), member.kind, member.mode, member.uid, member.gid,
            member.mtime, member.link, member.xattrs, content, member.device,
        ))  # fmt: skip
    return found


TEXT = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
NAMES = st.lists(TEXT, min_size=1, max_size=4).map("/".join).filter(lambda name: name.strip("/"))
NUMBERS = st.integers(0, 2**32 - 2)
FORMS = st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])


@st.composite
def some_pieces(draw: st.DrawFn) -> list[Piece]:
    kinds = st.sampled_from(["file", "file", "dir", "link", "hard", "char", "fifo"])
    return [
        Piece(
            draw(NAMES), draw(kinds), draw(st.binary(max_size=1500)), draw(NAMES),
            draw(st.integers(0, 0o7777)), draw(NUMBERS), draw(NUMBERS), draw(NUMBERS),
            draw(st.sampled_from([(), (("SCHILY.xattr.user.a", "1\n2"), ("comment", "x"))])),
        )
        for _ in range(draw(st.integers(0, 5)))
    ]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(pieces=some_pieces(), form=FORMS)
def test_the_index_made_by_who_unpacks_is_that_of_who_reads(pieces: list[Piece], form: int) -> None:
    data = packed(pieces, form)
    with tempfile.TemporaryDirectory() as top:
        made = PassingIndex(descriptor(data), Limits())
        try:
            unpack_layer(io.BytesIO(data), top, Ownership.IGNORE, extras=Extras(passing=made))
        except UsageError:
            # What cannot be unpacked has no index.
            return
    try:
        expected = read(data)
    except UsageError:
        assert made.index() is None
        return
    assert made.index() == expected


@settings(max_examples=150, deadline=None)
@given(pieces=some_pieces(), form=FORMS)
def test_tars_of_python_are_read_as_python_reads_them(pieces: list[Piece], form: int) -> None:
    data = packed(pieces, form)
    found = facts_of_members(data)
    assert found == facts_of_tarfile(data)
    assert len(found) == len(pieces)


def without_end(data: bytes) -> bytes:
    """All blocks up to the last header, for tars that end with an entry without content."""
    return data[: data.rindex(b"ustar") + 255]


SEED = without_end(packed([
    Piece("d", "dir"),
    Piece("d/x", data=b"evil" * 200),
    Piece("d/l", "link", link="../../outside"),
    Piece("d/\xe9", data=b"1", records=(("comment", "\xe9"), ("SCHILY.xattr.user.a", "1"))),
    Piece("h", "hard", link="d/x"),
    Piece("n" * 150),
    Piece("null", "char"),
])) + packed([Piece("g" * 150, "link", link="k" * 150)], tarfile.GNU_FORMAT)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.integers(0, 255)), max_size=8),
    keep=st.integers(0, len(SEED)),
)
def test_damaged_tars_are_refused_or_read_as_tarfile_reads_them(
    changes: list[tuple[int, int]], keep: int
) -> None:
    data = bytearray(SEED)
    for at, value in changes:
        data[at] = value
    damaged = with_checksums(bytes(data))[: max(keep, 512)] + bytes(1024)
    try:
        found = facts_of_members(damaged)
    except UsageError:
        return
    assert found == facts_of_tarfile(damaged)


PATHS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
XATTRS = st.dictionaries(st.sampled_from(["a", "\xe9", "c"]), st.binary(max_size=9)).map(
    lambda found: tuple(found.items())
)
TIMES = st.none() | st.integers(-(2**40), 2**40)
BLOB = Descriptor(LAYER_GZIP, sha256(b"blob"), 4)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    path, mtime = draw(PATHS), draw(TIMES)
    mode, uid, gid = draw(st.integers(0, 0o7777)), draw(NUMBERS), draw(NUMBERS)
    match draw(st.sampled_from("fffkdlhcbp")):
        case "f":
            digest, size = sha256(draw(st.binary())), draw(NUMBERS)
            place = InLayer(BLOB.digest, BLOB.media_type, draw(NUMBERS), size, digest)
            return File(path, place, mode, uid, gid, draw(XATTRS), mtime)
        case "k":
            content = Inline(draw(st.binary(max_size=50)))
            return File(path, content, mode, uid, gid, draw(XATTRS), mtime)
        case "d":
            return Directory(path, mode, uid, gid, draw(XATTRS), mtime)
        case "l":
            return Symlink(path, draw(PATHS), uid, gid, draw(XATTRS), mtime)
        case "h":
            return HardLink(path, draw(PATHS), mtime)
        case kind:
            return Special(path, {"c": "char", "b": "block", "p": "fifo"}[kind],  # type: ignore[arg-type]
                           draw(NUMBERS), draw(NUMBERS), mode, uid, gid, mtime)  # fmt: skip


@st.composite
def indexes(draw: st.DrawFn) -> LayerIndex:
    found = draw(st.lists(entries(), max_size=12))
    whiteouts, opaque = draw(st.lists(PATHS, max_size=3)), draw(st.lists(PATHS, max_size=3))
    count = len(whiteouts) + len(opaque)
    order = draw(st.sampled_from([(), tuple(range(count))]))
    return LayerIndex(tuple(found), tuple(whiteouts), tuple(opaque), order)


@settings(max_examples=200, deadline=None)
@given(index=indexes())
def test_indexes_come_back_whole(index: LayerIndex) -> None:
    assert decode_index(encode_index(index), BLOB) == index


@settings(max_examples=100, deadline=None)
@given(pieces=some_pieces())
def test_indexes_of_layers_come_back_whole(pieces: list[Piece]) -> None:
    try:
        index = index_of(*pieces)
    except UsageError:
        return
    assert decode_index(encode_index(index), descriptor(packed(pieces))) == index


def test_an_index_may_be_of_the_same_layer_in_another_blob() -> None:
    index = index_of(Piece("x", data=b"1"))
    (entry,) = decode_index(encode_index(index), BLOB).entries  # type: ignore[union-attr]
    assert isinstance(entry, File)
    assert isinstance(entry.content, InLayer)
    assert (entry.content.blob, entry.content.media_type) == (BLOB.digest, LAYER_GZIP)


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 10_000))
def test_damaged_indexes_are_none_or_whole(at: int, value: int, cut: int) -> None:
    data = encode_index(index_of(Piece("x", data=b"1"), Piece("d", "dir"), Piece(".wh.y")))
    head, _, body = data.partition(b"\n")
    plain = bytearray(zlib.decompress(body))
    plain[at % len(plain)] = value
    damaged = head + b"\n" + zlib.compress(bytes(plain))
    for found in (decode_index(damaged, BLOB), decode_index(data[: cut % len(data)], BLOB)):
        assert found is None or len(found.entries) == 2
    assert decode_index(b"something else", BLOB) is None


def test_only_contents_of_the_layer_are_encoded() -> None:
    file = File("x", OnDisk("/x", sha256(b""), 0))
    with pytest.raises(InternalError):
        encode_index(LayerIndex((file,)))


LONG = "d" * 90 + "/" + "e" * 120
WRITTEN = make_tree([
    Directory("d", 0o700, mtime=5),
    File("d/x", Inline(b"12345"), uid=3_000_000, mtime=2**37),
    HardLink("d/y", "d/x"),
    Symlink("far", "/" + LONG),
    File(LONG, Inline(b"long"), mtime=-3),
    File("\xe9", Inline(bytes(1000)), xattrs=(("user.a", b"1"),)),
    File("etc/passwd", Inline(b"root")),
    Special("pipe", "fifo"),
    File("z", Inline(b"z" * 512)),
])  # fmt: skip


@pytest.mark.parametrize("latest", [None, 10])
def test_the_index_of_a_written_tree_is_what_reading_it_gives(latest: int | None) -> None:
    out = io.BytesIO()
    write_tar(WRITTEN, out.write, MTIME, latest)
    blob = descriptor(out.getvalue())
    told = index_of_tree(WRITTEN, blob, MTIME, latest)
    for seen, entry in zip(read(out.getvalue()).entries, told.entries, strict=True):
        assert (type(seen), seen.path) == (type(entry), entry.path)
        if isinstance(entry, HardLink):
            assert isinstance(seen, HardLink)
            assert seen.target == entry.target
            continue
        # Times before 1970 are written, but read as 1970.
        assert seen.mtime == max(entry.mtime or 0, 0)
        if isinstance(entry, File) and isinstance(seen, File) and seen.path != "etc/passwd":
            assert seen.content == entry.content
    untimed = index_of_tree(WRITTEN, blob).entries
    assert [entry.mtime for entry in untimed] == [entry.mtime for entry in WRITTEN.entries]


def test_twenty_thousand_entries_are_quick() -> None:
    pieces = [
        File(f"usr/share/directory{number % 200}/file{number}", Inline(b"%d" % number * 200))
        for number in range(20_000)
    ]
    out = io.BytesIO()
    write_tar(make_tree(pieces), out.write, MTIME)
    data = out.getvalue()
    started = time.process_time()
    index = read(data)
    reading = time.process_time() - started
    encoded = encode_index(index)
    started = time.process_time()
    assert decode_index(encoded, descriptor(data)) == index
    decoding = time.process_time() - started
    # Several times what it takes: a machine under load is no failure, a slow way is.
    assert reading < 2
    assert decoding < 1
    assert len(encoded) < 2_000_000
