# SPDX-License-Identifier: Apache-2.0
"""The image's user, looked up as Docker does it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.sandbox.request import RunError
from wherry.sandbox.users import User, find_user

PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\n"
    "app:x:1000:1001::/home/app:/bin/sh\nbroken line\nodd:x:²:9::/:\n"
)
GROUP = "root:x:0:\nmain:x:1001:\nextra:x:2000:other,app\nmore:x:2001:app\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", User(0, 0, (), "/root")),
        ("0", User(0, 0, (), "/root")),
        ("root", User(0, 0, (), "/root")),
        ("app", User(1000, 1001, (2000, 2001), "/home/app")),
        ("1000", User(1000, 1001, (2000, 2001), "/home/app")),
        ("app:extra", User(1000, 2000, (), "/home/app")),
        ("app:7", User(1000, 7, (), "/home/app")),
        ("65532", User(65532, 0, (), "/")),
        ("65532:65532", User(65532, 65532, (), "/")),
    ],
)
def test_users(text: str, expected: User) -> None:
    assert find_user(text, PASSWD, GROUP) == expected


@pytest.mark.parametrize("text", ["nobody", "app:nogroup", "-1", "0:-1", "99999999999", "²"])
def test_users_that_are_not_there(text: str) -> None:
    with pytest.raises(RunError) as caught:
        find_user(text, PASSWD, GROUP)
    assert caught.value.hint


@given(st.text(), st.text())
def test_no_file_breaks_the_look_up_by_number(passwd: str, group: str) -> None:
    assert find_user("5:6", passwd, group)._replace(home="/").gid == 6


def test_ids_are_all_that_must_exist() -> None:
    assert User(1, 2, (3,)).ids == {1, 2, 3}
