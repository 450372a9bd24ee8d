# SPDX-License-Identifier: Apache-2.0
"""Pack sets: nothing that lives is lost, whatever exporters do, and sets stay bounded."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.gocache.compaction import fitting, make_plan
from wherry.gocache.pack_index import encode_index, read_index
from wherry.gocache.pack_set import (
    PACK_TYPE,
    RECORD_TYPE,
    TABLE_TYPE,
    Change,
    Pack,
    PackSet,
    RecordBlob,
    Rows,
    User,
    applied,
    bits_of,
    living,
    rows_in,
)
from wherry.gocache.table import BadPack, Content, Frame, Row, Table
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import Descriptor

_MOST = 1 << 40


def row(name: str, size: int = 1000) -> Row:
    return Row(hashlib.sha256(name.encode()).hexdigest(),
               hashlib.sha256(b"out" + name.encode()).hexdigest(), size)  # fmt: skip


def pack_of(rows: Sequence[Row], kind: str = "build", made: int = 1) -> tuple[Pack, Table]:
    contents = tuple({one.content: Content(one.content, one.size) for one in rows}.values())
    size = sum(content.size for content in contents) // 4 + 1
    table = Table(kind, tuple(rows), (Frame(size, contents),))
    name = "".join(sorted(one.key for one in rows)) + kind
    digest = sha256(name.encode())
    blob = Descriptor(PACK_TYPE, digest, size)
    about = Descriptor(TABLE_TYPE, sha256(b"t" + name.encode()), 10)
    return Pack(kind, blob, about, table.size, len(rows), made), table


class World:
    """A place and the tables of all packs that ever were."""

    def __init__(self) -> None:
        self.tables: dict[Digest, Table] = {}
        self.now = 0
        self.sent = 0

    def export(
        self, current: PackSet, user: str, rows: Sequence[Row], most: int = _MOST
    ) -> PackSet:
        return applied(current, self.change(current, user, rows, most), self.tables)

    def change(self, current: PackSet, user: str, rows: Sequence[Row], most: int = _MOST) -> Change:
        self.now += 1
        used = {"build": fitting(rows, most)}
        keys = {kind: frozenset(one.key for one in some) for kind, some in used.items()}
        change = Change(user, self.now, keys)
        plan = make_plan(current, change, used, self.tables, lambda _kind, _row: True, most)
        added = tuple(pack_of(some, kind, self.now) for kind, some in plan.rows.items())
        self.tables |= {pack.digest: table for pack, table in added}
        self.sent += sum(pack.blob.size for pack, _ in added)
        return change._replace(added=added, replaced=plan.replaced, dropped=plan.dropped)

    def has(self, current: PackSet) -> set[str]:
        return {one.key for pack in current.packs for one in self.tables[pack.digest].rows}

    def used(self, current: PackSet, user: str) -> set[str]:
        return {
            one.key
            for pack in current.packs
            for one in rows_in(self.tables[pack.digest],
                               current.users[user].rows.get(pack.digest, Rows()))
        }  # fmt: skip


def some_rows(numbers: set[int]) -> list[Row]:
    return [row(f"e{number}", 500 + number * 37 % 900) for number in sorted(numbers)]


numbers = st.sets(st.integers(0, 120), max_size=60)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["api", "web", "job"]), numbers), max_size=14))
def test_every_user_finds_what_its_last_build_used(steps: list[tuple[str, set[int]]]) -> None:
    world, current = World(), PackSet()
    last: dict[str, set[str]] = {}
    for user, some in steps:
        rows = some_rows(some)
        current = read_index(encode_index(world.export(current, user, rows)))
        last[user] = {one.key for one in rows}
        for name, keys in last.items():
            assert world.used(current, name) == keys
        # Bounded: not much more than what lives, and few packs.
        living_bytes = sum(one.size for one in _distinct(last.values())) // 4
        packed = sum(pack.blob.size for pack in current.packs)
        assert packed <= 1.5 * living_bytes + 20
        assert len(current.packs) <= 9


def _distinct(many: Any) -> list[Row]:
    wanted = set().union(*many)
    return [one for one in some_rows(set(range(121))) if one.key in wanted]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["api", "web", "job"]), numbers), max_size=6),
    st.tuples(numbers, numbers),
)
def test_exporters_that_meet_lose_nothing(
    before: list[tuple[str, set[int]]], met: tuple[set[int], set[int]]
) -> None:
    world, current = World(), PackSet()
    last: dict[str, set[str]] = {}
    for user, some in before:
        current = world.export(current, user, some_rows(some))
        last[user] = {one.key for one in some_rows(some)}
    # Both thought out their change from the same set; one is written first.
    changes = [world.change(current, user, some_rows(some))
               for user, some in zip(("one", "two"), met, strict=True)]  # fmt: skip
    for change, some in zip(changes, met, strict=True):
        current = read_index(encode_index(applied(current, change, world.tables)))
        last[change.user] = {one.key for one in some_rows(some)}
    for name, keys in last.items():
        if name == "two":
            # What it found in a pack that the other replaced it may have lost, but for what it
            # wrote itself: that costs speed.
            continue
        assert world.used(current, name) == keys


def test_two_users_share_what_both_use() -> None:
    world = World()
    current = world.export(PackSet(), "api", some_rows(set(range(50))))
    sent = world.sent
    current = world.export(current, "web", some_rows(set(range(10, 55))))
    assert len(current.packs) == 2
    assert world.sent - sent == pack_of(some_rows({50, 51, 52, 53, 54}))[0].blob.size
    assert world.used(current, "web") == {one.key for one in some_rows(set(range(10, 55)))}


def test_a_pack_that_nobody_uses_goes_without_being_written_anew() -> None:
    world = World()
    current = world.export(PackSet(), "api", some_rows({1, 2}))
    current = world.export(current, "api", some_rows({3, 4}))
    assert world.has(current) == {one.key for one in some_rows({3, 4})}


def test_a_pack_whose_living_rows_are_not_at_hand_stays() -> None:
    world = World()
    current = world.export(PackSet(), "api", some_rows(set(range(40))))
    current = world.export(current, "web", some_rows({39}))
    used = {"build": some_rows({100})}
    change = Change("api", 9, {"build": {one.key for one in used["build"]}})
    plan = make_plan(current, change, used, world.tables, lambda _kind, _row: False, _MOST)
    assert plan.replaced == frozenset()
    assert plan.rows == {"build": tuple(used["build"])}


def test_the_cap_forgets_who_was_away_for_longest() -> None:
    world, current = World(), PackSet()
    rows = [row(f"c{number}") for number in range(120)]
    for number, user in enumerate(("old", "older", "new")):
        current = world.export(current, user, rows[number * 40 : number * 40 + 40])
    size = sum(pack.blob.size for pack in current.packs)
    current = world.export(current, "new", rows[80:], most=size * 2 // 3 + 100)
    assert set(current.users) == {"older", "new"}
    assert sum(pack.blob.size for pack in current.packs) <= size * 2 // 3 + 100


@pytest.mark.timeout(20)
def test_many_users_whom_somebody_made_up_are_forgotten_at_once() -> None:
    digests = [sha256(b"%d" % number) for number in range(200)]
    packs = tuple(
        Pack("build", Descriptor(PACK_TYPE, one, 1 << 30), Descriptor(TABLE_TYPE, one, 9), 9, 9, 1)
        for one in digests
    )
    users = {f"u{number}": User(number, dict.fromkeys(digests, Rows(511))) for number in range(900)}
    plan = make_plan(PackSet(packs, users), Change("me", 1, {}), {}, {}, lambda *_: False, 1 << 31)
    assert plan.dropped == users.keys()


def test_a_build_beyond_the_cap_keeps_what_took_longest_for_its_size() -> None:
    rows = [row(f"r{number}", 4000)._replace(cost=number) for number in range(10)]
    kept = fitting(rows, 5000)
    assert [one.cost for one in kept] == [5, 6, 7, 8, 9]
    assert fitting(rows, _MOST) == tuple(rows)


def test_users_and_packs_stay_few_enough_to_be_read() -> None:
    world, current = World(), PackSet()
    for number in range(300):
        used = {"build": [row(f"u{number}"), row("common")]}
        change = Change(f"user {number}", number, {"build": {one.key for one in used["build"]}})
        plan = make_plan(current, change, used, world.tables, lambda _kind, _row: False, _MOST)
        added = tuple(pack_of(some, kind, number) for kind, some in plan.rows.items())
        world.tables |= {pack.digest: table for pack, table in added}
        change = change._replace(added=added, replaced=plan.replaced)
        current = read_index(encode_index(applied(current, change, world.tables)))
    assert len(current.users) == 200
    assert "user 100" in current.users
    assert "user 99" not in current.users
    assert len(current.packs) == 128


def test_a_build_of_very_many_entries_keeps_as_many_as_a_table_holds() -> None:
    many = [Row(f"{number:064x}", f"{number:064x}", 1, cost=number) for number in range(150_010)]
    kept = fitting(many, _MOST)
    assert len(kept) == 150_000
    assert min(one.cost for one in kept) == 10


def test_records_stay_until_there_are_too_many() -> None:
    current = PackSet()
    for number in range(300):
        blob = Descriptor(RECORD_TYPE, sha256(b"%d" % number), 5)
        records = {f"k{number}": RecordBlob(blob, number)}
        current = applied(current, Change("api", number, {}, records=records), {})
    assert len(current.records) == 256
    assert "k299" in current.records
    assert "k43" not in current.records


def sample() -> PackSet:
    world = World()
    current = world.export(PackSet(), "api", some_rows({1, 2, 3}))
    current = world.export(current, "web", some_rows({2, 9}))
    layer = Descriptor("application/vnd.oci.image.layer.v1.tar+gzip", sha256(b"l"), 7)
    parts = Descriptor(RECORD_TYPE, sha256(b"m"), 4)
    record = RecordBlob(Descriptor(RECORD_TYPE, sha256(b"r"), 3), 5, (layer,), (), (parts,))
    return current._replace(records={"k": record})


def test_an_index_comes_back_as_it_was() -> None:
    current = sample()
    assert read_index(encode_index(current)) == current
    assert encode_index(read_index(encode_index(current))) == encode_index(current)
    assert len({blob.digest for blob in current.blobs}) == 7


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_broken_index_is_refused_or_read(data: st.DataObject) -> None:
    good = bytearray(encode_index(sample()))
    for _ in range(data.draw(st.integers(1, 3))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(32, 126))
    try:
        found = read_index(bytes(good))
    except BadPack:
        return
    encode_index(found)


def _broken() -> list[tuple[str, Any]]:
    many = [json.loads(encode_index(sample()))["packs"][0]] * 300
    return [
        ("v", 2), ("packs", many), ("packs", [{}]), ("packs", 7), ("users", []),
        ("users", {"a": {"time": -1, "rows": {}}}), ("records", {"k": {"blob": ["md5:00", 1]}}),
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), _broken(), ids=lambda value: str(value)[:20])
def test_a_hostile_index_is_refused(name: str, value: object) -> None:
    good = json.loads(encode_index(sample()))
    with pytest.raises(BadPack):
        read_index(json.dumps({**good, name: value}).encode())


@pytest.mark.parametrize(
    "change",
    [{"rows": 1 << 40}, {"kind": "other"}, {"pack": ["x", 1]}, {"content": 1.5},
     {"pack": ["sha512:" + "a" * 128, 1]}],
)  # fmt: skip
def test_a_hostile_pack_in_an_index_is_refused(change: dict[str, object]) -> None:
    good = json.loads(encode_index(sample()))
    good["packs"][0] |= change
    with pytest.raises(BadPack):
        read_index(json.dumps(good).encode())


def test_bits() -> None:
    assert bits_of([]) == Rows(0)
    assert bits_of([9, 0, 3]).numbers == (0, 3, 9)
    world = World()
    current = world.export(PackSet(), "api", some_rows({1, 2, 3}))
    assert living(current, current.packs[0]).numbers == (0, 1, 2)
