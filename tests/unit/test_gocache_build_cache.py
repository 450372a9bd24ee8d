# SPDX-License-Identifier: Apache-2.0
"""GOCACHE from outside: what is read is what Go would read, and nothing of Go's is spoilt."""

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.errors import MachineError
from wherry.gocache.build_cache import BuildCache
from wherry.gocache.pack import unpack, write_pack
from wherry.gocache.table import BadPack, Content, Row, Table
from wherry.golang.build_entries import Action, encode_action, parse_action
from wherry.process.cancel import CancelToken


def identity(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def put(cache: BuildCache, name: str, data: bytes) -> Row:
    """As Go puts an entry."""
    cache.prepare()
    action, output = identity(name), hashlib.sha256(data).hexdigest()
    Path(cache.path, output[:2], f"{output}-d").write_bytes(data)
    text = f"v1 {action} {output} {len(data):20d} {12345:20d}\n"
    Path(cache.path, action[:2], f"{action}-a").write_text(text)
    return Row(action, output, len(data), 12345)


def output_path(cache: BuildCache, row: Row) -> Path:
    return Path(cache.path, row.content[:2], f"{row.content}-d")


def action_path(cache: BuildCache, row: Row) -> Path:
    return Path(cache.path, row.key[:2], f"{row.key}-a")


@pytest.fixture
def full(tmp_path: Path) -> BuildCache:
    return BuildCache(str(tmp_path / "full"))


@pytest.fixture
def empty(tmp_path: Path) -> BuildCache:
    return BuildCache(str(tmp_path / "empty"))


def subkey(name: str, what: str) -> str:
    return hashlib.sha256(b"subkey:" + bytes.fromhex(identity(name)) + what.encode()).hexdigest()


def move(rows: tuple[Row, ...], source: BuildCache, target: BuildCache) -> Table:
    out = io.BytesIO()
    table = write_pack("build", rows, source.open_output, out.write, CancelToken()).table
    target.prepare()
    missing, outputs = target.lacks(table.rows)
    out.seek(0)
    unpack(table, out, outputs, target.place, CancelToken())
    target.enter(missing)
    return table


def test_an_action_is_read_as_go_reads_it() -> None:
    one = Action(identity("a"), identity("b"), 17, 99)
    data = encode_action(one)
    assert len(data) == 175
    assert parse_action(f"{one.id}-a", data) == one
    for bad in (data[:-1], data + b"x", data.replace(b"v1", b"v2"), data.replace(b" ", b"0", 1),
                b"", data.replace(b"                  17", b"                 -17")):  # fmt: skip
        assert parse_action(f"{one.id}-a", bad) is None
    assert parse_action(f"{identity('c')}-a", data) is None


def test_entries_by_prefix_with_what_belongs_to_them(full: BuildCache) -> None:
    archive = put(full, "pkg", b"!<arch>\nabc")
    put(full, "other", b"!<arch>\ndef")
    printed = Row(subkey("pkg", "stdout"), hashlib.sha256(b"").hexdigest(), 0, 12345)
    Path(full.path, printed.content[:2], f"{printed.content}-d").write_bytes(b"")
    Path(full.path, printed.key[:2], f"{printed.key}-a").write_text(
        f"v1 {printed.key} {printed.content} {0:20d} {12345:20d}\n"
    )
    prefix = archive.key[:30]
    assert list(full.rows({prefix, "0" * 30})) == [(prefix, archive), (prefix, printed)]


@pytest.mark.parametrize("spoilt", ["gone", "short", "directory", "link", "action"])
def test_an_entry_that_is_not_whole_is_none(full: BuildCache, spoilt: str) -> None:
    row = put(full, "pkg", b"abc")
    path = output_path(full, row)
    if spoilt == "action":
        action_path(full, row).write_text("v1 nonsense\n")
    elif spoilt == "short":
        path.write_bytes(b"ab")
    else:
        path.unlink()
    if spoilt == "directory":
        path.mkdir()
    if spoilt == "link":
        path.symlink_to("/etc/hostname")
    assert full.row(row.key) is None


def test_entries_move_to_an_empty_cache(full: BuildCache, empty: BuildCache) -> None:
    large = os.urandom(9 << 20)
    rows = (put(full, "a", b"one"), put(full, "b", b"one"), put(full, "c", large))
    move(rows, full, empty)
    for row in rows:
        assert empty.row(row.key) == row
        assert output_path(empty, row).read_bytes() == output_path(full, row).read_bytes()
        assert action_path(empty, row).read_bytes() == action_path(full, row).read_bytes()
    umask = os.umask(0o22)
    os.umask(umask)
    assert output_path(empty, rows[2]).stat().st_mode & 0o777 == 0o666 & ~umask


def test_an_entry_that_is_there_stays(full: BuildCache, empty: BuildCache) -> None:
    row = put(full, "pkg", b"compiled there")
    mine = put(empty, "pkg", b"compiled here")
    move((row,), full, empty)
    assert empty.row(row.key) == mine


@pytest.mark.parametrize("size", [3, 9 << 20])
def test_a_truncated_output_is_mended(full: BuildCache, empty: BuildCache, size: int) -> None:
    row = put(full, "pkg", os.urandom(size))
    put(empty, "pkg", output_path(full, row).read_bytes())
    output_path(empty, row).write_bytes(b"x")
    move((row,), full, empty)
    assert output_path(empty, row).read_bytes() == output_path(full, row).read_bytes()


def test_an_action_goes_in_only_with_its_output(full: BuildCache, empty: BuildCache) -> None:
    row = put(full, "pkg", b"abc")
    empty.prepare()
    assert empty.enter((row,)) == 0
    assert not action_path(empty, row).exists()


@pytest.mark.parametrize("key", ["../../../../tmp/x", "a" * 63, "A" * 64, "", "a" * 64 + "\n"])
def test_a_name_that_is_none_of_gos_is_refused(empty: BuildCache, key: str) -> None:
    put(empty, "pkg", b"abc")
    bad = Row(key, hashlib.sha256(b"abc").hexdigest(), 3)
    before = sorted(Path(empty.path).rglob("*"))
    with pytest.raises(BadPack):
        empty.lacks((bad,))
    with pytest.raises(BadPack):
        empty.enter((bad,))
    assert sorted(Path(empty.path).rglob("*")) == before


def test_an_output_that_a_link_stands_for_is_not_written_through(
    full: BuildCache, empty: BuildCache, tmp_path: Path
) -> None:
    row = put(full, "pkg", b"abc")
    precious = tmp_path / "precious"
    precious.write_text("mine")
    empty.prepare()
    output_path(empty, row).symlink_to(precious)
    move((row,), full, empty)
    assert precious.read_text() == "mine"
    assert empty.row(row.key) == row


def test_bytes_that_are_not_what_they_should_be_leave_nothing(empty: BuildCache) -> None:
    empty.prepare()
    content = Content(hashlib.sha256(b"x" * (9 << 20)).hexdigest(), 9 << 20)

    def chunks() -> Iterator[bytes]:
        yield b"y" * (4 << 20)
        yield b"y" * (4 << 20)
        raise BadPack("other bytes")

    with pytest.raises(BadPack):
        empty.place(content, chunks())
    assert [path for path in Path(empty.path).rglob("*") if path.is_file()] == []


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot be written") as raised:
        BuildCache(str(tmp_path / "file")).prepare()
    assert "GOCACHE" in raised.value.hint


@pytest.mark.parametrize(
    ("data", "is_bound", "is_test"),
    [
        (b"go index v2\nrest", True, False),
        (b"# test log\ngetenv HOME\n", False, True),
        (b"=== RUN   TestX\nok  \texample.com/m\t0.012s\n", False, True),
        (b"ok  \texample.com/m\t(cached)\n", False, True),
        (b"!<arch>\nok  \tnot at the end\nx", False, False),
        (b"", False, False),
        (b"./main.go\n", False, False),
    ],
)
def test_entries_that_stay_here(
    full: BuildCache, data: bytes, is_bound: bool, is_test: bool
) -> None:
    row = put(full, "x", data)
    assert full.is_bound(row) == is_bound
    assert full.is_test(row) == is_test


def test_texts_in_outputs_are_found(full: BuildCache) -> None:
    row = put(full, "x", b"\0path /home/me/project/main.go\0")
    assert full.holds_any(row, [b"/nowhere", b"/home/me"])
    assert not full.holds_any(row, [b"/home/you"])
    output_path(full, row).unlink()
    assert full.holds_any(row, [b"/home/you"])
