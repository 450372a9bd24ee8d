# SPDX-License-Identifier: Apache-2.0
"""Indexes of modules in packs: they come with the line that vouches for them, or not at all."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pytest

from wherry.gocache.build_cache import BuildCache
from wherry.gocache.module_indexes import IndexesIntoCache, Vouched, indexes_of
from wherry.gocache.pack import unpack, write_pack
from wherry.gocache.table import BadPack, Content, Row, Table
from wherry.golang.build_entries import INDEX, Action, encode_action
from wherry.process.cancel import CancelToken
from wherry.sandbox.go_indexes import KeptLines
from wherry.sandbox.step_spec import StepGoCache

BUILD = "/root/.cache/go-build"
LINE = f"example.com/Lib v1.0.0 h1:{'A' * 43}="
OTHER = f"corp.example.com/x v1.0.0 h1:{'B' * 43}="
DATA = INDEX + b"2\nan index"
ID, SECOND = "ab" * 32, "cd" * 32


class Pool:
    """A build cache of steps, with the lines of its indexes."""

    def __init__(self, top: Path) -> None:
        self.place = StepGoCache("build", BUILD, str(top))
        self.cache = BuildCache(f"{top}/fs{BUILD}")
        os.makedirs(self.cache.path)
        self.cache.prepare()
        self.lines = KeptLines(self.place)

    def put(self, identity: str, data: bytes) -> None:
        output = hashlib.sha256(data).hexdigest()
        line = encode_action(Action(identity, output, len(data), 7))
        for name, content in ((f"{output}-d", data), (f"{identity}-a", line)):
            Path(self.cache.path, name[:2], name).write_bytes(content)

    def take(self, pack: tuple[Table, bytes]) -> None:
        table, data = pack
        found = IndexesIntoCache(self.cache, self.lines, table.rows)
        unpack(table, io.BytesIO(data), found.contents, found.place, CancelToken())

    def line(self, identity: str) -> str:
        return Path(self.place.lower, "indexes", identity).read_text()

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in Path(self.place.lower).rglob("*") if path.is_file())


@pytest.fixture
def first(tmp_path: Path) -> Pool:
    made = Pool(tmp_path / "first")
    made.put(ID, DATA)
    made.put(SECOND, DATA)
    return made


@pytest.fixture
def second(tmp_path: Path) -> Pool:
    return Pool(tmp_path / "second")


def packed(pool: Pool, *used: Vouched, private: str = "") -> tuple[Table, bytes]:
    material = indexes_of(dict.fromkeys(used, pool.cache), private)
    out = io.BytesIO()
    table = write_pack("indexes", material.rows, material.read, out.write, CancelToken()).table
    assert all(map(material.at_hand, material.rows))
    return table, out.getvalue()


def pack_of(key: str, data: bytes) -> tuple[Table, bytes]:
    row = Row(key, hashlib.sha256(data).hexdigest(), len(data))
    out = io.BytesIO()
    table = write_pack(
        "indexes", [row], lambda _row: io.BytesIO(data), out.write, CancelToken()
    ).table
    return table, out.getvalue()


def test_an_index_comes_with_its_line(first: Pool, second: Pool) -> None:
    # Two modules may have equal indexes.
    second.take(packed(first, Vouched(ID, LINE), Vouched(SECOND, OTHER)))
    for identity, line in ((ID, LINE), (SECOND, OTHER)):
        assert second.cache.row(identity) == first.cache.row(identity)
        assert second.line(identity) == line
    row = second.cache.row(ID)
    assert row is not None
    with second.cache.open_output(row) as file:
        assert file.read() == DATA


def test_indexes_of_private_modules_stay(first: Pool) -> None:
    used = (Vouched(ID, LINE), Vouched(SECOND, OTHER))
    assert [row.key for row in packed(first, *used)[0].rows] == [ID, SECOND]
    assert [row.key for row in packed(first, *used, private="*.example.com")[0].rows] == [ID]


def test_what_is_no_index_or_gone_stays(first: Pool) -> None:
    first.put("ef" * 32, b"!<arch>\n")
    used = (Vouched("ef" * 32, LINE), Vouched("01" * 32, LINE))
    assert packed(first, *used)[0].rows == ()


def test_what_is_there_stays(first: Pool, second: Pool) -> None:
    second.put(ID, INDEX + b"2\nits own")
    before = second.files
    second.take(packed(first, Vouched(ID, LINE)))
    assert second.files == before
    second.lines.keep(SECOND, OTHER)
    second.take(packed(first, Vouched(SECOND, LINE)))
    assert second.line(SECOND) == OTHER
    assert second.cache.row(SECOND) is None


@pytest.mark.parametrize(
    "data",
    [b"", DATA, b"\n" + DATA, LINE.encode(), LINE.encode() + b"\n!<arch>\n",
     b"one two h1:short\n" + DATA, LINE.encode() + b" more\n" + DATA],
)  # fmt: skip
def test_what_has_no_line_is_refused(second: Pool, data: bytes) -> None:
    with pytest.raises(BadPack):
        second.take(pack_of(ID, data))
    assert second.files == []


@pytest.mark.parametrize("key", ["", "ab", "../" * 20 + "x", "AB" * 32, f"{ID}\n"])
def test_a_key_that_is_none_is_refused(second: Pool, key: str) -> None:
    with pytest.raises(BadPack):
        second.take(pack_of(key, LINE.encode() + b"\n" + DATA))
    assert second.files == []


def test_a_line_is_there_before_its_index(
    first: Pool, second: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that is killed in between leaves no index of which nobody knows what it is."""
    pack = packed(first, Vouched(ID, LINE))

    def killed(*_: object) -> None:
        assert second.line(ID) == LINE
        raise KeyboardInterrupt

    monkeypatch.setattr(second.cache, "place", killed)
    with pytest.raises(KeyboardInterrupt):
        second.take(pack)
    assert second.cache.row(ID) is None


def test_contents_are_checked_by_who_unpacks(first: Pool, second: Pool) -> None:
    table, data = packed(first, Vouched(ID, LINE))
    found = IndexesIntoCache(second.cache, second.lines, table.rows)
    (row,) = table.rows
    with pytest.raises(BadPack):
        unpack(table, io.BytesIO(data[:-3]), found.contents, found.place, CancelToken())
    assert found.contents == {Content(row.content, row.size).digest}
    assert second.cache.row(ID) is None
