# SPDX-License-Identifier: Apache-2.0
"""Hashes and trees of modules' zips: what is read is what every other reader sees, or nothing."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import struct
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wherry.fstree.removal import remove_tree
from wherry.golang.go_sum import hash_files
from wherry.golang.module_zip import hash_zip, unpack_zip

MODULE = "example.com/m@v1.0.0"
FILES = {
    "go.mod": b"module example.com/m\n",
    "empty.go": b"",
    "a.go": b"package m\n" * 40,
    "\xe9.txt": b"text",
    "dir/large.bin": os.urandom(1000) + bytes((1 << 20) + 5),
    "dir/stored": b"stored" * 9,
}


def packed(files: dict[str, bytes] | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (FILES if files is None else files).items():
            info = zipfile.ZipInfo(f"{MODULE}/{name}")
            info.compress_type = zipfile.ZIP_STORED if "stored" in name else zipfile.ZIP_DEFLATED
            if name == "a.go":
                # A time, as some tools add it.
                info.extra = struct.pack("<2HBI", 0x5455, 5, 1, 1_700_000_000)
            archive.writestr(info, data)
    return out.getvalue()


def by_python(data: bytes) -> str:
    """The hash of what Python's reader finds."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return hash_files(
            (name, hashlib.sha256(archive.read(name)).hexdigest()) for name in archive.namelist()
        )


def hashed(data: bytes) -> str:
    with tempfile.TemporaryDirectory() as top:
        path = Path(top, "m.zip")
        path.write_bytes(data)
        return hash_zip(str(path), MODULE)


def test_a_tree_has_what_the_zip_has(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    path.write_bytes(packed())
    before = os.umask(0o077)
    try:
        found = unpack_zip(str(path), MODULE, str(tmp_path / "tree"))
    finally:
        os.umask(before)
    assert found == hash_zip(str(path), MODULE) == by_python(packed())
    tree = tmp_path / "tree"
    assert {str(p.relative_to(tree)): p.read_bytes() for p in tree.rglob("*") if p.is_file()} == {
        name: FILES[name] for name in FILES
    }
    assert {p.stat().st_mode & 0o777 for p in tree.rglob("*") if p.is_file()} == {0o444}
    assert (tree / "dir").stat().st_mode & 0o777 == 0o555


def test_a_name_cannot_say_what_other_files_say(tmp_path: Path) -> None:
    """Go's hash is made of lines; Go refuses such names, too."""
    true = {"m_note.txt": b"note", "m_safe.go": b"package m\n"}
    digest = hashlib.sha256(true["m_safe.go"]).hexdigest()
    forged = {f"m_note.txt\n{digest}  {MODULE}/m_safe.go": true["m_note.txt"]}
    assert hashed(packed(true))
    assert not hashed(packed(forged))
    path = tmp_path / "m.zip"
    path.write_bytes(packed(forged))
    assert not unpack_zip(str(path), MODULE, str(tmp_path / "tree"))
    with pytest.raises(ValueError, match="newline"):
        hash_files([(f"{MODULE}/{name}", digest) for name in forged])


SMALL = packed({name: data for name, data in FILES.items() if len(data) < 10_000})


@settings(max_examples=800, deadline=None)
@example(changes=[(636, 32)], keep=800)
@example(changes=[(636, 64)], keep=800)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), max_size=4),
    keep=st.integers(len(SMALL) // 2, len(SMALL)),
)
def test_damage_is_refused_or_read_as_python_reads_it(
    changes: list[tuple[int, int]], keep: int
) -> None:
    data = bytearray(SMALL)
    for at, value in changes:
        data[at] = value
    damaged = bytes(data[:keep])
    found = hashed(damaged)
    assert not found or found == by_python(damaged)


def header_of(data: bytes, name: str) -> int:
    """Where a file's own header begins."""
    return data.index(f"{MODULE}/{name}".encode()) - 30


@pytest.mark.parametrize("at", [0, 26, 30])
def test_a_header_that_is_not_the_directorys_is_refused(at: int) -> None:
    """The signature, the name's length, the name: another reader may believe in this one."""
    assert hashed(SMALL) == by_python(SMALL)
    place = header_of(SMALL, "a.go") + at
    assert hashed(SMALL[:place] + bytes([SMALL[place] ^ 1]) + SMALL[place + 1 :]) == ""


def unpacked(top: Path, data: bytes) -> str:
    path = top / "m.zip"
    path.write_bytes(data)
    try:
        return unpack_zip(str(path), MODULE, str(top / "tree"))
    finally:
        # Some are too deep for other ways to remove them.
        remove_tree(str(top / "tree"))


def with_header_at(offset: int, content: bytes = b"package m\n") -> bytes:
    """A zip whose one file is said to begin at `offset`: a zip64 field may name any place."""
    data = bytearray(packed({"a.go": content}))
    place = data.index(b"PK\1\2")
    name, extra = struct.unpack_from("<2H", data, place + 28)
    field = struct.pack("<2HQ", 1, 8, offset)
    struct.pack_into("<H", data, place + 30, len(field))
    struct.pack_into("<I", data, place + 42, 0xFFFFFFFF)
    at = place + 46 + name
    data[at : at + extra] = field
    end = data.index(b"PK\5\6")
    struct.pack_into("<I", data, end + 12, end - place)
    return bytes(data)


LARGE = os.urandom((1 << 20) + 5)


@pytest.mark.parametrize("content", [b"package m\n", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("offset", [2**64 - 1, 2**63 - 1, 2**63 - 64, 2**62, 1 << 30])
def test_a_header_beyond_all_files_is_refused(tmp_path: Path, offset: int, content: bytes) -> None:
    data = with_header_at(offset, content)
    assert zipfile.ZipFile(io.BytesIO(data)).infolist()[0].header_offset >= offset
    assert unpacked(tmp_path, data) == hashed(data) == ""


@pytest.mark.parametrize("content", [b"package m\n", LARGE], ids=["small", "large"])
def test_a_header_before_the_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Where the list of files is said to begin later than it does."""
    data = bytearray(packed({"a.go": content}))
    end = data.rindex(b"PK\5\6")
    (begin,) = struct.unpack_from("<I", data, end + 16)
    struct.pack_into("<I", data, end + 16, begin + 500)
    assert zipfile.ZipFile(io.BytesIO(data)).infolist()[0].header_offset == -500
    assert unpacked(tmp_path, bytes(data)) == ""


@pytest.mark.parametrize(
    "names",
    [("a", "a/b"), ("a/b", "a"), ("a", "a/b/c"), ("a/b", "a/b/c/d/e"), ("n" * 300,),
     ("n" * 300 + "/x",), ("a/" + "n" * 300 + "/b/x",), ("a/" * 3000 + "x",)],
)  # fmt: skip
def test_names_that_no_tree_has_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert unpacked(tmp_path, packed(dict.fromkeys(names, b"x"))) == ""


@pytest.mark.parametrize("call", ["mkdir", "open", "write", "pread", "fchmod"])
@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_fault_of_the_machine_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, fault: int
) -> None:
    done = getattr(os, call)
    path = tmp_path / "m.zip"
    path.write_bytes(SMALL)

    def failing(*args: object, **more: object) -> object:
        # What the tree itself asks for.
        if call in ("mkdir", "open") and f"{tmp_path}/top/" not in str(args[0]):
            return done(*args, **more)
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, call, failing)
    with pytest.raises(OSError, match=os.strerror(fault)) as caught:
        unpack_zip(str(path), MODULE, str(tmp_path / "top"))
    monkeypatch.undo()
    assert caught.value.errno == fault


def test_a_file_whose_mode_cannot_be_set_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def failing(descriptor: int, _mode: int) -> None:
        opened.append(descriptor)
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "fchmod", failing)
    with pytest.raises(OSError, match="no"):
        unpacked(tmp_path, SMALL)
    (descriptor,) = opened
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize("more", [-1, 1])
def test_a_file_that_is_longer_or_shorter_than_told_is_refused(more: int) -> None:
    data = bytearray(SMALL)
    place = data.index(b"PK\1\2")
    size = struct.unpack_from("<I", data, place + 24)[0]
    assert size == len(FILES["go.mod"])
    struct.pack_into("<I", data, place + 24, size + more)
    assert hashed(bytes(data)) == ""
