# SPDX-License-Identifier: Apache-2.0
"""`--chown`: numbers and names. What they give is what BuildKit v0.33.1 gave for the same files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import UsageError
from wherry.fstree.owners import UNCHANGED, find_owner

_PASSWD = b"""root:x:0:0::/:
joe:x:1000:1001::/:
joe:x:5:5::/:
bad:x:zz:7::/:
short
#c:x:3:3
  padded:x:8:9::/:  \r
last:x:70:71"""
_GROUP = b"root:x:0:\nteam:x:2000:joe\n#off:x:9:\nusers:x:100:\nodd:x:zz:\n"


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("5", (5, 5)),
        ("5:6", (5, 6)),
        ("+5:007", (5, 7)),
        ("0", (0, 0)),
        ("root", (0, 0)),
        ("root:3", (0, 3)),
        ("3:root", (3, 0)),
        ("2147483647", (2147483647, 2147483647)),
        ("-1", (UNCHANGED, UNCHANGED)),
        ("-2:4", (4294967294, 4)),
        ("5:", (5, 0)),
        (":6", (0, 6)),
    ],
)
def test_numbers_need_no_files(text: str, owner: tuple[int, int]) -> None:
    assert find_owner(text, None, None) == owner


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("joe", (1000, 1001)),
        ("joe:team", (1000, 2000)),
        ("joe:5", (1000, 5)),
        ("joe:", (1000, 0)),
        ("5:team", (5, 2000)),
        (":team", (0, 2000)),
        ("who", (0, 0)),
        ("who:who", (0, 0)),
        ("joe:nobody-knows", (1000, 1001)),
        ("5:nobody-knows", (5, 5)),
        ("joe:team:x", (1000, 1001)),
        ("bad", (0, 7)),
        ("short", (0, 0)),
        ("#c", (3, 3)),
        ("padded", (8, 9)),
        ("last", (70, 71)),
        ("joe:#off", (1000, 1001)),
        ("joe:odd", (1000, 0)),
        (" joe", (0, 0)),
        ("2147483648", (0, 0)),
        ("9" * 5000, (0, 0)),
    ],
)
def test_names_are_looked_up_and_unknown_ones_are_root(text: str, owner: tuple[int, int]) -> None:
    assert find_owner(text, lambda: _PASSWD, lambda: _GROUP) == owner


def test_an_image_without_the_files_knows_nobody() -> None:
    assert find_owner("joe:team", lambda: None, lambda: None) == (0, 0)


@pytest.mark.parametrize(("text", "path"), [("joe", "/etc/passwd"), ("5:team", "/etc/group")])
def test_without_an_image_a_name_is_an_error(text: str, path: str) -> None:
    with pytest.raises(UsageError, match=f"owner '{text}'") as caught:
        find_owner(text, None, None)
    assert path in caught.value.why
    assert "--chown=1000:1000" in caught.value.hint


def test_only_the_file_that_is_asked_is_read() -> None:
    def never() -> bytes:
        raise AssertionError("read")

    assert find_owner("joe:5", lambda: _PASSWD, never) == (1000, 5)
    assert find_owner("5:team", never, lambda: _GROUP) == (5, 2000)


def test_a_file_over_the_limit_is_refused() -> None:
    with pytest.raises(UsageError, match="10 MiB"):
        find_owner("joe", lambda: b"x" * ((10 << 20) + 1), None)


@given(st.binary(max_size=200), st.text(min_size=1, max_size=10))
def test_no_file_gives_an_owner_that_cannot_be(data: bytes, text: str) -> None:
    uid, gid = find_owner(text, lambda: data, lambda: data)
    assert 0 <= uid <= UNCHANGED
    assert 0 <= gid <= UNCHANGED
