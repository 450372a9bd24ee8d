# SPDX-License-Identifier: Apache-2.0
"""Indexes of modules in packs: they come with the line that vouches for them, or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wherry.gocache.build_cache import BuildCache
from wherry.gocache.module_indexes import IndexesIntoCache, Pool, Vouched, indexes_of
from wherry.gocache.pack import unpack, write_pack
from wherry.gocache.table import BadPack, Content, Row, Table
from wherry.golang.build_entries import INDEX, Action, encode_action
from wherry.process.cancel import CancelToken
from wherry.sandbox.go_indexes import KeptLines, forget_lines
from wherry.sandbox.step_spec import StepGoCache

BUILD = "/root/.cache/go-build"
LINE = f"example.com/Lib v1.0.0 h1:{'A' * 43}="
OTHER = f"corp.example.com/x v1.0.0 h1:{'B' * 43}="
DATA = INDEX + b"2\nan index"
ID, SECOND = "ab" * 32, "cd" * 32


class Ground:
    """A build cache of steps, with the lines of its indexes."""

    def __init__(self, top: Path, *, prepared: bool = True) -> None:
        self.place = StepGoCache("build", BUILD, str(top))
        self.cache = BuildCache(f"{top}/fs{BUILD}")
        os.makedirs(self.cache.path)
        if prepared:
            self.cache.prepare()
        self.lines = KeptLines(self.place)
        self.pool = Pool(self.cache, self.lines)

    def put(self, identity: str, data: bytes, vouched: str = "") -> None:
        if vouched:
            self.lines.keep(identity, vouched)
        output = hashlib.sha256(data).hexdigest()
        line = encode_action(Action(identity, output, len(data), 7))
        for name, content in ((f"{output}-d", data), (f"{identity}-a", line)):
            Path(self.cache.path, name[:2], name).write_bytes(content)

    def take(self, pack: tuple[Table, bytes]) -> None:
        table, data = pack
        found = IndexesIntoCache(self.pool, table.rows)
        found.prepare()
        unpack(table, io.BytesIO(data), found.contents, found.place, CancelToken())

    def line(self, identity: str) -> str:
        return self.lines.find(identity)

    @property
    def files(self) -> list[str]:
        found = (path.name for path in Path(self.place.lower).rglob("*") if path.is_file())
        return sorted(name for name in found if not name.endswith(".lock"))


@pytest.fixture
def first(tmp_path: Path) -> Ground:
    made = Ground(tmp_path / "first")
    made.put(ID, DATA, LINE)
    made.put(SECOND, DATA, OTHER)
    return made


@pytest.fixture
def second(tmp_path: Path) -> Ground:
    return Ground(tmp_path / "second")


def packed(ground: Ground, *used: Vouched, private: str = "") -> tuple[Table, bytes]:
    material = indexes_of(dict.fromkeys(used, ground.pool), private)
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


def test_an_index_comes_with_its_line(first: Ground, second: Ground) -> None:
    # Two modules may have equal indexes.
    second.take(packed(first, Vouched(ID, LINE), Vouched(SECOND, OTHER)))
    for identity, line in ((ID, LINE), (SECOND, OTHER)):
        assert second.cache.row(identity) == first.cache.row(identity)
        assert second.line(identity) == line
    row = second.cache.row(ID)
    assert row is not None
    with second.cache.open_output(row) as file:
        assert file.read() == DATA


def test_indexes_of_private_modules_stay(first: Ground) -> None:
    used = (Vouched(ID, LINE), Vouched(SECOND, OTHER))
    assert [row.key for row in packed(first, *used)[0].rows] == [ID, SECOND]
    assert [row.key for row in packed(first, *used, private="*.example.com")[0].rows] == [ID]


def test_what_is_no_index_or_gone_stays(first: Ground) -> None:
    first.put("ef" * 32, b"!<arch>\n")
    used = (Vouched("ef" * 32, LINE), Vouched("01" * 32, LINE))
    assert packed(first, *used)[0].rows == ()


def test_what_is_there_stays(first: Ground, second: Ground) -> None:
    second.put(ID, INDEX + b"2\nits own")
    before = second.files
    second.take(packed(first, Vouched(ID, LINE)))
    assert second.files == before


def test_a_line_without_its_index_is_no_obstacle(first: Ground, second: Ground) -> None:
    """The index was trimmed, or the disk was full."""
    second.lines.keep(ID, OTHER)
    second.take(packed(first, Vouched(ID, LINE)))
    assert second.line(ID) == LINE
    assert second.cache.row(ID) == first.cache.row(ID)


def test_who_comes_first_has_the_place(first: Ground, second: Ground) -> None:
    """Another build takes the same index, of other files, while this one's comes."""
    table, data = packed(first, Vouched(ID, LINE))
    found = IndexesIntoCache(second.pool, table.rows)
    second.put(ID, INDEX + b"2\nother files", OTHER)
    row = second.cache.row(ID)
    unpack(table, io.BytesIO(data), found.contents, found.place, CancelToken())
    assert second.line(ID) == OTHER
    assert second.cache.row(ID) == row


def test_an_index_that_was_made_anew_stays(first: Ground) -> None:
    """What a step used had another line; what is there now is of other files."""
    assert packed(first, Vouched(ID, OTHER))[0].rows == ()
    both = packed(first, Vouched(ID, OTHER), Vouched(ID, LINE))[0].rows
    assert [row.key for row in both] == [ID]


def test_an_index_that_is_made_anew_just_now_goes_out_with_its_own_line(first: Ground) -> None:
    """Another build comes before this one gets the lock."""
    new = INDEX + b"2\nof other files"

    class Late(KeptLines):
        @contextmanager
        def alone(self) -> Iterator[None]:
            first.put(ID, new, OTHER)
            with super().alone():
                yield

    pool = Pool(first.cache, Late(first.place))
    for line, wanted in ((LINE, []), (OTHER, [OTHER.encode() + b"\n" + new])):
        first.put(ID, DATA, LINE)
        material = indexes_of({Vouched(ID, line): pool}, "")
        assert [material.read(row).read() for row in material.rows] == wanted


def test_forgetting_waits_for_who_brings_an_index(second: Ground) -> None:
    done = threading.Event()

    def forget() -> None:
        forget_lines(second.place)
        done.set()

    with second.lines.alone():
        second.lines.keep(ID, LINE)
        thread = threading.Thread(target=forget)
        thread.start()
        assert not done.wait(0.2)
        second.put(ID, DATA)
    thread.join(10)
    assert done.is_set()
    assert second.line(ID) == LINE


def test_a_new_cache_has_its_directories_made(first: Ground, tmp_path: Path) -> None:
    new = Ground(tmp_path / "new", prepared=False)
    new.take(packed(first, Vouched(ID, LINE)))
    assert new.cache.row(ID) == first.cache.row(ID)


@pytest.mark.parametrize(
    "data",
    [b"", DATA, b"\n" + DATA, LINE.encode(), LINE.encode() + b"\n!<arch>\n",
     b"one two h1:short\n" + DATA, LINE.encode() + b" more\n" + DATA],
)  # fmt: skip
def test_what_has_no_line_is_refused(second: Ground, data: bytes) -> None:
    with pytest.raises(BadPack):
        second.take(pack_of(ID, data))
    assert second.files == []


@pytest.mark.parametrize("key", ["", "ab", "../" * 20 + "x", "AB" * 32, f"{ID}\n"])
def test_a_key_that_is_none_is_refused(second: Ground, key: str) -> None:
    with pytest.raises(BadPack):
        second.take(pack_of(key, LINE.encode() + b"\n" + DATA))
    assert second.files == []


def test_a_line_is_there_before_its_index(
    first: Ground, second: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that is killed in between leaves no index of which nobody knows what it is."""
    pack = packed(first, Vouched(ID, LINE))

    def killed(*_: object) -> None:
        assert second.line(ID) == LINE
        raise KeyboardInterrupt

    monkeypatch.setattr(second.cache, "enter", killed)
    with pytest.raises(KeyboardInterrupt):
        second.take(pack)
    assert second.cache.row(ID) is None


def test_contents_are_checked_by_who_unpacks(first: Ground, second: Ground) -> None:
    table, data = packed(first, Vouched(ID, LINE))
    found = IndexesIntoCache(second.pool, table.rows)
    (row,) = table.rows
    with pytest.raises(BadPack):
        unpack(table, io.BytesIO(data[:-3]), found.contents, found.place, CancelToken())
    assert found.contents == {Content(row.content, row.size).digest}
    assert second.cache.row(ID) is None
