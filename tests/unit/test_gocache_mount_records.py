# SPDX-License-Identifier: Apache-2.0
"""Cache mounts in an index: what is written is read, what is malformed is refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from wherry.gocache.mount_records import (
    MOST_MOUNTS,
    MOUNT_TYPE,
    MountChange,
    MountRecord,
    Top,
    encode_mounts,
    merged_mounts,
    mount_blobs,
    mount_key,
    read_mounts,
)
from wherry.gocache.table import BadPack
from wherry.oci.digest import sha256
from wherry.oci.image import Descriptor
from wherry.oci.media import LAYER_ZSTD

KEY = mount_key("cc")


def record(name: str = "a", size: int = 10, time: int = 1) -> MountRecord:
    return MountRecord(
        Descriptor(MOUNT_TYPE, sha256(name.encode()), size),
        sha256(f"diff {name}".encode()),
        sha256(f"tree {name}".encode()),
        10240,
        3,
        Top(0o1777, 1000, 7),
        time,
    )


def section() -> dict[str, Any]:
    return json.loads(json.dumps(encode_mounts({KEY: record()})))


def test_what_is_written_is_read() -> None:
    mounts = {KEY: record(), mount_key("other"): record("b", 0, 0)}
    assert read_mounts(json.loads(json.dumps(encode_mounts(mounts)))) == mounts
    assert read_mounts({}) == {}
    assert [blob.digest for blob in mount_blobs(mounts)] == [sha256(b"a"), sha256(b"b")]


def test_unpacking_is_told_of_a_layer() -> None:
    layer = record().layer
    assert (layer.descriptor.media_type, layer.descriptor.size) == (LAYER_ZSTD, 10)
    assert (layer.descriptor.digest, layer.diff_id) == (sha256(b"a"), sha256(b"diff a"))


def test_a_key_tells_names_apart_and_names_nothing() -> None:
    names = ["cc", "cc\0755 0:0", "team/cc", "", "\udcff", "\xff", "ccc"]
    keys = {mount_key(name) for name in names}
    assert len(keys) == len(names)
    assert all(len(key) == 64 and "cc/" not in key for key in keys)
    assert mount_key("cc") == KEY


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("blob", ["sha512:" + "0" * 128, 1]),
        ("blob", [str(sha256(b"")), -1]),
        ("blob", [str(sha256(b"")), True]),
        ("blob", [str(sha256(b"")), 1 << 60]),
        ("blob", [str(sha256(b""))]),
        ("blob", None),
        ("diff_id", "sha256:short"),
        ("diff_id", 7),
        ("tree", "../../etc/passwd"),
        ("tar", 1.5),
        ("tar", 512),
        ("entries", 1_000_001),
        ("entries", "3"),
        ("top", [0o10000, 0, 0]),
        ("top", [0o755, -1, 0]),
        ("top", [0o755, 0, 2**32 - 1]),
        ("top", [0o755, 0]),
        ("time", None),
    ],
)
def test_what_is_malformed_is_refused(field: str, value: object) -> None:
    wrong = section()
    wrong[KEY][field] = value
    with pytest.raises(BadPack):
        read_mounts(wrong)


@pytest.mark.parametrize("field", sorted(section()[KEY]))
def test_nothing_may_be_missing(field: str) -> None:
    wrong = section()
    del wrong[KEY][field]
    with pytest.raises(BadPack):
        read_mounts(wrong)


@pytest.mark.parametrize("wrong", [None, 7, "text", [section()[KEY]], {"cc": section()[KEY]},
                                   {KEY: None}, {KEY.upper(): section()[KEY]}])  # fmt: skip
def test_what_is_no_section_is_refused(wrong: object) -> None:
    with pytest.raises(BadPack):
        read_mounts(wrong)


def test_more_mounts_than_anybody_has_are_refused() -> None:
    value = section()[KEY]
    many = {mount_key(str(number)): copy.copy(value) for number in range(MOST_MOUNTS + 1)}
    with pytest.raises(BadPack, match="are malformed"):
        read_mounts(many)
    many.popitem()
    assert len(read_mounts(many)) == MOST_MOUNTS


def test_the_newest_archive_counts_and_use_is_noted() -> None:
    current = {"a": record("old", time=5), "b": record("b", time=5), "c": record("c", time=5)}
    change = MountChange(9, {"a": record("new", time=9)}, frozenset(("b", "gone")))
    merged = merged_mounts(current, change)
    assert merged["a"].blob.digest == sha256(b"new")
    assert {key: one.time for key, one in merged.items()} == {"a": 9, "b": 9, "c": 5}
    # Whoever exports at the same moment and saw a mount as it was takes nothing back.
    assert merged_mounts(merged, MountChange(8, {}, frozenset("a")))["a"].blob == merged["a"].blob


def test_what_was_not_used_for_longest_goes_first() -> None:
    current = {"a": record("a", 60, 1), "b": record("b", 30, 2)}
    change = MountChange(3, {"c": record("c", 50, 3)})
    assert set(merged_mounts(current, change, 140)) == {"a", "b", "c"}
    assert set(merged_mounts(current, change, 80)) == {"b", "c"}
    assert set(merged_mounts(current, change, 50)) == {"c"}
    assert merged_mounts(current, change, 20) == {}
    many = {f"{number:03}": record(str(number), 1, number) for number in range(MOST_MOUNTS + 9)}
    kept = merged_mounts(many, MountChange())
    assert list(kept) == [f"{number:03}" for number in range(9, MOST_MOUNTS + 9)]
