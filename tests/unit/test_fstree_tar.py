# SPDX-License-Identifier: Apache-2.0
"""The tar writer: golden bytes, and what other readers make of them."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from wherry.errors import BuildError, InternalError
from wherry.fstree.tar import content_places, write_tar
from wherry.fstree.tree import (
    Directory,
    File,
    HardLink,
    InLayer,
    Inline,
    OnDisk,
    Opened,
    Special,
    Symlink,
    Tree,
    make_tree,
)
from wherry.oci.digest import sha256

LONG = "d" * 90 + "/" + "e" * 120 + "/" + "f" * 99
SPLIT = "g" * 120 + "/" + "h" * 100
NOT_UTF8 = b"raw-\xff\xfe".decode("utf-8", "surrogateescape")
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")

SAMPLE = make_tree(
    [
        Directory("bin", 0o755),
        File("bin/tool", Inline(b"#!tool\n"), 0o4755, 1000, 100),
        HardLink("bin/tool2", "bin/tool"),
        Symlink("bin/tool3", "tool"),
        Directory("tmp", 0o1777),
        File("empty", Inline(b"")),
        File("exact", Inline(b"x" * 512)),
        File("\xe9t\xe9", Inline(b"summer")),
        File(NOT_UTF8, Inline(b"bytes")),
        File(SPLIT, Inline(b"split")),
        File(LONG, Inline(b"long")),
        Symlink("far", "/" + LONG),
        Symlink("accent", "\xe9t\xe9"),
        File("ids", Inline(b""), uid=3_000_000, gid=4_000_000),
        File("ping", Inline(b"\x7fELF"), 0o755, xattrs=(("security.capability", CAPABILITY),)),
    ]
)


def tar_of(tree: Tree, mtime: int = 0) -> bytes:
    out = io.BytesIO()
    write_tar(tree, out.write, mtime)
    return out.getvalue()


def members_of(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8") as archive:
        return {member.name: member for member in archive}


def test_golden_digest() -> None:
    digest = hashlib.sha256(tar_of(SAMPLE, 1_700_000_000)).hexdigest()
    assert digest == "88d532f5d86ce4da57a3a04ac23225eadfd62f53e15932ff2b5dc9b25eaacb85"


def test_empty_tree_is_the_end_marker_alone() -> None:
    assert tar_of(make_tree([])) == bytes(1024)


def test_a_plain_tree_needs_no_extended_header() -> None:
    data = tar_of(make_tree([Directory("app"), File("app/x", Inline(b"hello"), 0o755)]))
    assert len(data) == 512 + 512 + 512 + 1024
    assert data[:4] == b"app/"
    assert data[257:265] == b"ustar\x0000"
    assert data[329:345] == b"0000000\x000000000\0"
    assert data[1024:1536] == b"hello" + bytes(507)


def test_python_reads_every_entry_as_written() -> None:
    with tarfile.open(fileobj=io.BytesIO(tar_of(SAMPLE, 12)), encoding="utf-8") as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == [entry.path for entry in SAMPLE.entries]
        for member, entry in zip(members, SAMPLE.entries, strict=True):
            assert (member.mtime, member.uname, member.gname) == (12, "", "")
            match entry:
                case File():
                    file = archive.extractfile(member)
                    assert file is not None
                    assert file.read() == entry.content.data
                    assert (member.mode, member.uid, member.gid) == (
                        entry.mode, entry.uid, entry.gid,
                    )  # fmt: skip
                case Directory():
                    assert member.isdir()
                    assert member.mode == entry.mode
                case Symlink():
                    assert member.issym()
                    assert member.linkname == entry.target
                case HardLink():
                    assert member.islnk()
                    assert member.linkname == entry.target


def test_a_hard_link_carries_its_targets_mode_and_owner() -> None:
    link = members_of(tar_of(SAMPLE))["bin/tool2"]
    assert (link.mode, link.uid, link.gid, link.size) == (0o4755, 1000, 100, 0)


def test_attributes_are_raw_bytes() -> None:
    data = tar_of(SAMPLE)
    assert b" SCHILY.xattr.security.capability=" + CAPABILITY + b"\n" in data
    assert b"hdrcharset" not in data


@pytest.mark.parametrize("length", range(60, 280))
def test_names_of_every_length_come_back(length: int) -> None:
    name = ("n" * 50 + "/") * (length // 51) + "n" * (length % 51 or 1)
    name = name.rstrip("/")
    tree = make_tree([File(name, Inline(b"")), Directory("dir/" + name)])
    assert list(members_of(tar_of(tree))) == [entry.path for entry in tree.entries]


def test_sizes_beyond_octal(tmp_path: Path) -> None:
    huge = 9 << 30
    tree = make_tree([File("huge", OnDisk(str(tmp_path / "none"), sha256(b""), huge))])
    out = io.BytesIO()
    with pytest.raises(BuildError):
        write_tar(tree, out.write, 0)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        assert archive.firstmember is not None
        assert archive.firstmember.size == huge


@pytest.mark.parametrize("mtime", [0, 1, 8**11 - 1, 8**11])
def test_times(mtime: int) -> None:
    assert members_of(tar_of(make_tree([Directory("d")]), mtime))["d"].mtime == mtime


@pytest.mark.parametrize("content", [b"12345678", b"123456789a"])
def test_a_file_that_changed_its_size_fails_the_build(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    on_disk = OnDisk(str(tmp_path / "file"), sha256(b"123456789"), 9)
    with pytest.raises(BuildError, match="/app/x changed"):
        tar_of(make_tree([File("app/x", on_disk)]))


def test_an_unreadable_file_fails_the_build(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="/app/x") as caught:
        tar_of(make_tree([File("app/x", OnDisk(str(tmp_path / "gone"), sha256(b""), 0))]))
    assert str(tmp_path / "gone") in caught.value.why


def test_files_on_disk_and_inline_give_the_same_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_001
    (tmp_path / "file").write_bytes(data)
    on_disk = OnDisk(str(tmp_path / "file"), sha256(data), len(data))
    assert tar_of(make_tree([File("x", on_disk)])) == tar_of(make_tree([File("x", Inline(data))]))


def test_no_piece_is_larger_than_a_mebibyte() -> None:
    sizes: list[int] = []
    tree = make_tree([File("x", Inline(bytes(3_000_000)))])
    write_tar(tree, lambda data: sizes.append(len(data)), 0)
    assert max(sizes) == 1 << 20


TIMED = make_tree(
    [
        Directory("a", mtime=5),
        Directory("b", xattrs=(("user.a", b"1"),)),
        File("b/x", Inline(b"1"), mtime=100),
        HardLink("b/y", "b/x"),
        HardLink("b/z", "b/x", mtime=7),
        File("c", Inline(b"2")),
        Symlink("l", "x", xattrs=(("trusted.a", b"\xff"),), mtime=-2),
        Special("null", "char", 1, 3, 0o666, mtime=9),
        Special("sda", "block", 8, 2**20, uid=3, gid=4),
        Special("pipe", "fifo", mode=0o600),
    ]
)


def test_entries_keep_times_of_their_own() -> None:
    members = members_of(tar_of(TIMED, 12))
    assert {name: member.mtime for name, member in members.items()} == {
        "a": 5, "b": 12, "b/x": 100, "b/y": 100, "b/z": 7, "c": 12, "l": -2, "null": 9, "sda": 12,
        "pipe": 12,
    }  # fmt: skip


def test_no_time_is_later_than_the_latest() -> None:
    out = io.BytesIO()
    write_tar(TIMED, out.write, 12, latest=8)
    times = {name: member.mtime for name, member in members_of(out.getvalue()).items()}
    assert (times["a"], times["b"], times["b/x"], times["b/y"], times["l"]) == (5, 8, 8, 8, -2)


def test_special_files_and_attributes_of_others() -> None:
    members = members_of(tar_of(TIMED))
    null, disk, pipe = members["null"], members["sda"], members["pipe"]
    assert (null.ischr(), null.devmajor, null.devminor, null.mode) == (True, 1, 3, 0o666)
    assert (disk.isblk(), disk.devmajor, disk.devminor) == (True, 8, 2**20)
    assert (disk.uid, disk.gid) == (3, 4)
    assert (pipe.isfifo(), pipe.devmajor, pipe.devminor, pipe.mode) == (True, 0, 0, 0o600)
    assert members["b"].pax_headers["SCHILY.xattr.user.a"] == "1"
    assert b" SCHILY.xattr.trusted.a=\xff\n" in tar_of(TIMED)


@pytest.mark.parametrize("tree", [SAMPLE, TIMED, make_tree([])])
@pytest.mark.parametrize("mtime", [0, 8**11])
def test_contents_lie_where_they_are_said_to(tree: Tree, mtime: int) -> None:
    data = tar_of(tree, mtime)
    members = members_of(data)
    for entry, time, offset in content_places(tree, mtime):
        member = members[entry.path]
        assert (member.mtime, member.offset_data) == (time, offset)
        if isinstance(entry, File):
            assert data[offset : offset + entry.content.size] == entry.content.data


def opened(data: bytes, promised: bytes) -> Tree:
    content = Opened(lambda: io.BytesIO(data), len(promised), sha256(promised))
    return make_tree([File("app/x", content)])


def test_opened_contents_are_verified() -> None:
    data = bytes(range(256)) * 10_001
    assert tar_of(opened(data, data)) == tar_of(make_tree([File("app/x", Inline(data))]))
    for changed in (data[:-1], data + b"1", b"1" + data[1:], b""):
        with pytest.raises(BuildError, match="/app/x changed while it was read") as caught:
            tar_of(opened(changed, data))
        assert caught.value.hint


def test_opened_contents_are_closed() -> None:
    files: list[io.BytesIO] = []

    def opener() -> io.BytesIO:
        files.append(io.BytesIO(b"12"))
        return files[-1]

    good = File("x", Opened(opener, 2, sha256(b"12")))
    tar_of(make_tree([good]))
    with pytest.raises(BuildError):
        tar_of(make_tree([File("x", Opened(opener, 1, sha256(b"1")))]))
    assert [file.closed for file in files] == [True, True]


def test_a_content_that_cannot_be_opened() -> None:
    def opener() -> io.BytesIO:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(BuildError, match="cannot read the file for /x") as caught:
        tar_of(make_tree([File("x", Opened(opener, 1, sha256(b"1")))]))
    assert caught.value.why == "Permission denied"


def test_a_content_in_a_layer_cannot_be_written() -> None:
    place = InLayer(sha256(b"layer"), "type", 512, 1, sha256(b"1"))
    with pytest.raises(InternalError, match="/x was not taken out"):
        tar_of(make_tree([File("x", place)]))


@pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar is not installed")
def test_gnu_tar_extracts_it(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar_of(SAMPLE, 1_700_000_000))
    target = tmp_path / "out"
    target.mkdir()
    argv = ["tar", "--extract", "--no-same-owner", "--preserve-permissions"]
    done = subprocess.run(
        [*argv, "--file", str(tmp_path / "x.tar"), "--directory", str(target)],
        capture_output=True,
        text=True,
        env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for entry in SAMPLE.entries:
        found = target / entry.path
        match entry:
            case File():
                assert found.read_bytes() == entry.content.data
                assert found.stat().st_mtime == 1_700_000_000
            case Directory():
                assert found.is_dir()
            case Symlink():
                assert str(found.readlink()) == entry.target
            case HardLink():
                assert found.samefile(target / entry.target)
