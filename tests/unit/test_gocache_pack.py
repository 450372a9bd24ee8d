# SPDX-License-Identifier: Apache-2.0
"""Packs: what goes in comes out, and nothing that is broken or made to harm does."""

import hashlib
import io
import json
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.gocache.pack import unpack, write_pack
from wherry.gocache.table import BadPack, Content, Row, Table, encode_table, read_table
from wherry.process.cancel import Cancelled, CancelToken


def row_of(key: str, data: bytes) -> Row:
    return Row(key, hashlib.sha256(data).hexdigest(), len(data), len(key), key, 7)


def packed(contents: dict[str, bytes]) -> tuple[Table, bytes]:
    out = io.BytesIO()
    rows = [row_of(key, data) for key, data in contents.items()]
    written = write_pack("build", rows, lambda row: io.BytesIO(contents[row.key]), out.write,
                         CancelToken())  # fmt: skip
    assert written.lost == ()
    return written.table, out.getvalue()


class Everything:
    def __contains__(self, _digest: object) -> bool:
        return True


def unpacked(table: Table, data: bytes, wanted: Any = Everything()) -> dict[str, bytes]:  # noqa: B008 - stateless
    found: dict[str, bytes] = {}

    def place(content: Content, chunks: Iterator[bytes]) -> None:
        found[content.digest] = b"".join(chunks)

    unpack(table, io.BytesIO(data), wanted, place, CancelToken())
    return found


LARGE = random.Random(7).randbytes(9 << 20) + bytes(4 << 20)
SEVERAL = {
    "empty": b"", "small": b"x", "again": b"x", "large": LARGE,
    **{f"n{number}": os.urandom(700_000) for number in range(30)},
}  # fmt: skip


@pytest.fixture(scope="module")
def sample() -> tuple[Table, bytes]:
    return packed(SEVERAL)


def test_all_contents_come_back_each_once(sample: tuple[Table, bytes]) -> None:
    table, data = sample
    again = read_table(encode_table(table))
    assert again == table
    assert len(table.frames) > 3
    assert sum(frame.size for frame in table.frames) == len(data)
    found = unpacked(again, data)
    assert {row.key: found[row.content] for row in table.rows} == SEVERAL
    assert table.size == sum(map(len, set(SEVERAL.values())))


def test_only_what_is_wanted_is_given(sample: tuple[Table, bytes]) -> None:
    table, data = sample
    wanted = {row.content for row in table.rows if row.key in ("small", "large", "n7")}
    assert set(unpacked(table, data, wanted)) == wanted


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=20), st.binary(max_size=2000), max_size=30))
def test_any_contents(contents: dict[str, bytes]) -> None:
    table, data = packed(contents)
    table = read_table(encode_table(table))
    found = unpacked(table, data)
    assert {row.key: found[row.content] for row in table.rows} == contents


def test_what_changed_or_went_meanwhile_is_left_out() -> None:
    def read(row: Row) -> io.BytesIO:
        if row.key == "gone":
            raise FileNotFoundError(row.key)
        return io.BytesIO({"good": b"good", "other": b"rehto", "longer": b"longer!",
                           "shorter": b"shor"}[row.key])  # fmt: skip

    rows = [row_of(key, key.encode()) for key in ("good", "gone", "other", "longer", "shorter")]
    out = io.BytesIO()
    written = write_pack("modules", rows, read, out.write, CancelToken())
    assert [row.key for row in written.table.rows] == ["good"]
    assert [row.key for row in written.lost] == ["gone", "other", "longer", "shorter"]
    assert list(unpacked(written.table, out.getvalue()).values()) == [b"good"]


def test_a_large_content_that_changed_leaves_no_frame() -> None:
    rows = [row_of("large", LARGE), row_of("good", b"good")]
    changed = {"large": LARGE[:-1] + b"!", "good": b"good"}
    out = io.BytesIO()
    written = write_pack("build", rows, lambda row: io.BytesIO(changed[row.key]), out.write,
                         CancelToken())  # fmt: skip
    assert [row.key for row in written.lost] == ["large"]
    assert len(unpacked(written.table, out.getvalue())) == 1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1 << 24), st.sampled_from(["cut", "flip", "drop"]), st.integers(1, 255))
def test_a_broken_pack_gives_nothing_that_is_wrong(
    sample: tuple[Table, bytes], number: int, kind: str, mask: int
) -> None:
    table, good = sample
    at = number % len(good)
    if kind == "cut":
        bad = good[:at]
    elif kind == "flip":
        bad = good[:at] + bytes([good[at] ^ mask]) + good[at + 1 :]
    else:
        bad = good[:at] + good[at + 1 :]
    found: dict[str, bytes] = {}

    def place(content: Content, chunks: Iterator[bytes]) -> None:
        found[content.digest] = b"".join(chunks)

    with pytest.raises(BadPack):
        unpack(table, io.BytesIO(bad), Everything(), place, CancelToken())
    assert all(hashlib.sha256(value).hexdigest() == digest for digest, value in found.items())


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_broken_table_is_refused_or_read(
    sample: tuple[Table, bytes], data: st.DataObject
) -> None:
    good = bytearray(encode_table(sample[0]))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_table(bytes(good[: data.draw(st.integers(0, len(good)))]))
    except BadPack:
        return


def table_json(**changed: object) -> bytes:
    value: dict[str, object] = {
        "v": 1, "kind": "build", "contents": [["a" * 64, 3], ["b" * 64, 4]], "frames": [[9, 2]],
        "rows": [["k", 0, 0, "", 0], ["l", 1, 0, "", 0]],
    }  # fmt: skip
    return zstandard.compress(json.dumps(value | changed).encode())


@pytest.mark.parametrize(
    "changed",
    [
        {"v": 2}, {"kind": "other"}, {"kind": None}, {"contents": 3},
        {"contents": [["a" * 64, -1], ["b" * 64, 4]]}, {"contents": [["a" * 63, 3], ["b" * 64, 4]]},
        {"contents": [["../../../../etc/passwd", 3], ["b" * 64, 4]]},
        {"contents": [["a" * 64, 1 << 40], ["b" * 64, 4]]}, {"contents": [["a" * 64, 3]] * 2},
        {"contents": [["a" * 64, 200 << 20], ["b" * 64, 200 << 20]]},
        {"contents": [["a" * 64, 3.5], ["b" * 64, 4]]}, {"frames": [[9, 3]]}, {"frames": [[9, 1]]},
        {"frames": [[9, 0], [9, 2]]}, {"frames": [[-9, 2]]}, {"rows": [["k", 2, 0, "", 0]]},
        {"rows": [["k", -1, 0, "", 0]]}, {"rows": [[7, 0, 0, "", 0]]}, {"rows": [["k", 0, 0]]},
        {"rows": [["k", 0, 0, "", 0], ["k", 1, 0, "", 0]]}, {"rows": [["k", 0, 1 << 64, "", 0]]},
    ],
    ids=str,
)  # fmt: skip
def test_a_hostile_table_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(BadPack):
        read_table(table_json(**changed))


def test_the_sample_of_hostile_tables_is_good_itself() -> None:
    assert [row.key for row in read_table(table_json()).rows] == ["k", "l"]


def test_bombs_are_refused() -> None:
    with pytest.raises(BadPack, match="too large"):
        read_table(zstandard.compress(b'{"v":1,"kind":"' + b" " * (70 << 20)))
    with pytest.raises(BadPack, match="malformed"):
        read_table(zstandard.compress(b"[" * 200_000))
    with pytest.raises(BadPack, match="nothing but lists"):
        read_table(zstandard.compress(b'{"v":1,"rows":[' + b"[]," * 100_000 + b"1]}"))


def test_a_frame_that_says_it_is_huge_is_not_read(sample: tuple[Table, bytes]) -> None:
    table, data = sample
    frames = (table.frames[0]._replace(size=1 << 40), *table.frames[1:])
    with pytest.raises(BadPack, match="larger than what is in it"):
        unpacked(table._replace(frames=frames), data)


def test_what_place_leaves_unread_is_not_taken_for_the_next(sample: tuple[Table, bytes]) -> None:
    table, data = sample
    last = table.rows[-1]
    found: list[bytes] = []

    def place(content: Content, chunks: Iterator[bytes]) -> None:
        if content.digest == last.content:
            found.append(b"".join(chunks))

    unpack(table, io.BytesIO(data), Everything(), place, CancelToken())
    assert found == [SEVERAL[last.key]]


def test_both_ways_can_be_stopped(sample: tuple[Table, bytes]) -> None:
    table, data = sample
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        unpack(table, io.BytesIO(data), Everything(), lambda _content, _chunks: None, token)
    with pytest.raises(Cancelled):
        write_pack("build", [row_of("a", b"a")], lambda _: io.BytesIO(b"a"), len, token)
