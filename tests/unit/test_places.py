# SPDX-License-Identifier: Apache-2.0
"""Where the store lies when nobody says: never in the current directory by accident."""

import os
import pwd
from pathlib import Path

import pytest

from wherry.api.places import default_store
from wherry.errors import MachineError


def test_the_environment_decides() -> None:
    assert default_store({"HOME": "/h"}) == "/h/.cache/wherry/v1"
    assert default_store({"HOME": "/h", "XDG_CACHE_HOME": "/c"}) == "/c/wherry/v1"
    named = {"HOME": "/h", "XDG_CACHE_HOME": "/c", "WHERRY_STORE": "/s"}
    assert default_store(named) == "/s"
    assert default_store({"WHERRY_STORE": "s"}) == str(Path.cwd() / "s")


@pytest.mark.parametrize("env", [{}, {"HOME": ""}, {"HOME": "relative", "XDG_CACHE_HOME": "too"}])
def test_without_a_home_the_user_database_does(env: dict[str, str]) -> None:
    home = pwd.getpwuid(os.getuid()).pw_dir
    assert default_store(env) == f"{home}/.cache/wherry/v1"


def test_a_user_that_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As containers have it that run under any user id."""

    def unknown(_number: int) -> pwd.struct_passwd:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(MachineError) as caught:
        default_store({})
    assert "--store" in caught.value.hint
