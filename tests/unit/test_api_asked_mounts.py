# SPDX-License-Identifier: Apache-2.0
"""Which cache mounts travel: the flag's lists, and what `[cache] mounts` says without it."""

from __future__ import annotations

import pytest

from wherry.api.asked_mounts import asked_mounts, check_mount_flags
from wherry.api.request import BuildRequest
from wherry.cli.flags import BuildFlags, read_plain
from wherry.errors import SeveralErrors, UsageError
from wherry.settings.reading import parse_settings

FILE = '[cache]\nmounts = ["npm", "/root/.cache", "npm"]\n'


def asked(*texts: str, file: str = "") -> tuple[str, ...]:
    request = BuildRequest(".", "/cwd", {}, "/store")._replace(cache_mounts=texts)
    check_mount_flags(request)
    return asked_mounts(request, parse_settings(file, "/p/wherry.toml"))


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        ((), ()),
        (("npm",), ("npm",)),
        (("npm, /root/.cache", "cc", "npm"), ("npm", "/root/.cache", "cc")),
        (('"a,b",c',), ("a,b", "c")),
        (("", " , "), ()),
        (("a\udcffb",), ("a\udcffb",)),
    ],
)
def test_names_are_lists_with_commas(texts: tuple[str, ...], names: tuple[str, ...]) -> None:
    assert asked(*texts) == names


def test_the_flag_replaces_what_the_file_says() -> None:
    assert asked(file=FILE) == ("npm", "/root/.cache")
    assert asked("cc", file=FILE) == ("cc",)
    assert asked("", file=FILE) == ()


@pytest.mark.parametrize("text", ['"a', "a\nb", "a\0b", '"a"b'])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--cache-mounts"):
        asked(text)


@pytest.mark.parametrize("value", ['"npm"', '["a", ""]', '["a\\nb"]', "[1]"])
def test_what_is_no_list_in_the_file_is_refused(value: str) -> None:
    with pytest.raises((UsageError, SeveralErrors)):
        asked(file=f"[cache]\nmounts = {value}\n")


def test_a_plain_command_line_has_it() -> None:
    assert read_plain(["--cache-mounts", "a,b", "--cache-mounts=c", "."]) == BuildFlags(
        (".",), cache_mounts=("a,b", "c")
    )
