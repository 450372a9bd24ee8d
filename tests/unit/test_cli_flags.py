# SPDX-License-Identifier: Apache-2.0
"""The reader of plain command lines says what click says, or leaves the line to click."""

from __future__ import annotations

from unittest import mock

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.cli import build
from wherry.cli.flags import BUILD_FLAGS, BuildFlags, read_plain


def read_by_click(words: list[str]) -> BuildFlags | None:
    found: list[BuildFlags] = []

    def take(flags: BuildFlags) -> int:
        found.append(flags)
        return 0

    with mock.patch.object(build, "run_build", take):
        try:
            build.command.main(list(words), prog_name="wherry build", standalone_mode=False)
        except click.exceptions.Exit:
            return None
        except click.ClickException:
            return None
    return found[0] if found else None


VALUES = st.sampled_from(
    ["", "-", "--", "a", "x=1", "a=b=c", "linux/amd64", "3", "0", "-1", "off", "full", "plain",
     "auto", "./cmd/api", "--json", "-q", "-t", "é", "1e3", " 3", "٣", "12345678"]
)  # fmt: skip
NAMES = [f"--{flag.name}" for flag in BUILD_FLAGS] + [
    f"-{flag.short}" for flag in BUILD_FLAGS if flag.short
]
WORDS = st.one_of(
    VALUES,
    st.sampled_from([*NAMES, "--no", "--js", "-qt", "-tx", "-t=x", "--help", "-h", "--jsonx"]),
    st.builds(lambda name, value: f"{name}={value}", st.sampled_from(NAMES), VALUES),
)


@given(st.lists(WORDS, max_size=6))
def test_a_plain_reading_is_clicks_reading(words: list[str]) -> None:
    plain = read_plain(words)
    if plain is not None:
        assert plain == read_by_click(words)


PLAIN = [
    ([], BuildFlags()),
    (["."], BuildFlags(sources=(".",))),
    (["./cmd/api", "-t", "a", "--tag=b", "-q"],
     BuildFlags(sources=("./cmd/api",), tags=("a", "b"), quiet=True)),
    (["./cmd/api", "--load", "./cmd/...", "--dry-run", "--print-settings", "web"],
     BuildFlags(sources=("./cmd/api", "./cmd/...", "web"), load=True, dry_run=True,
                print_settings=True)),
    (["--target", "api", "--platform=linux/amd64,linux/arm64", "--target=web",
      "--platform", "linux/arm/v7"],
     BuildFlags(targets=("api", "web"), platforms=("linux/amd64,linux/arm64", "linux/arm/v7"))),
    (["--jobs", "3", "--progress", "plain", "--no-cache", "--json"],
     BuildFlags(jobs=3, progress="plain", no_cache=True, as_json=True)),
    (["--push", "-t", "localhost:5000/a:1", "--pull", "--locked", "--ca", "a.pem", "--ca=b.pem",
      "--base", "debian:12-slim"],
     BuildFlags(push=True, pull=True, locked=True, ca=("a.pem", "b.pem"), base="debian:12-slim",
                tags=("localhost:5000/a:1",))),
    (["-o", "type=oci,dest=x.tar", "--label", "a=b", "--stamp=full"],
     BuildFlags(outputs=("type=oci,dest=x.tar",), labels=("a=b",), stamp="full")),
    (["--secret", "id=a,src=b", "--secret=id=c", "--ssh", "default", "--ssh=x=k1,k2",
      "--network=none", "--allow", "network.host", "--add-host", "db:10.0.0.7",
      "--add-host=v6=[::1]", "--shm-size", "1g", "--ulimit", "nofile=1:2", "--on-error", "shell"],
     BuildFlags(secrets=("id=a,src=b", "id=c"), ssh=("default", "x=k1,k2"), network="none",
                allow=("network.host",), add_hosts=("db:10.0.0.7", "v6=[::1]"), shm_size="1g",
                ulimits=("nofile=1:2",), on_error="shell")),
    (["--cache-from", "r.test/c:main", "--cache-from=./c", "--cache-to", "type=wherry,dest=/c",
      "--cache-key=cache.pub"],
     BuildFlags(cache_from=("r.test/c:main", "./c"), cache_to=("type=wherry,dest=/c",),
                cache_key="cache.pub")),
]  # fmt: skip


@pytest.mark.parametrize(("words", "expected"), PLAIN)
def test_what_people_type_daily_is_plain(words: list[str], expected: BuildFlags) -> None:
    assert read_plain(words) == expected
    assert read_by_click(words) == expected


@pytest.mark.parametrize(
    "words",
    [["--help"], ["-h"], ["--nope"], ["a", "-x"], ["--load=1"], ["--platform"],
     ["--jobs", "0"], ["--jobs"], ["--progress", "x"],
     ["--json=1"], ["-qt", "x"], ["--", "-x"], ["--network", "bridge"], ["--on-error", "sh"],
     ["--secret"]],
)  # fmt: skip
def test_anything_else_is_left_to_click(words: list[str]) -> None:
    assert read_plain(words) is None


def test_every_flag_has_a_value_and_every_value_a_flag() -> None:
    assert {flag.field for flag in BUILD_FLAGS} | {"sources"} == set(BuildFlags._fields)
    assert all(flag.group for flag in BUILD_FLAGS)


def test_what_one_word_stands_for() -> None:
    assert (BuildFlags().source, BuildFlags().platform) == (".", "")
    # An unset variable in a script is not this directory.
    assert BuildFlags(sources=("", "b")).source == ""
    several = BuildFlags(platforms=("linux/amd64,linux/arm64", "linux/arm/v7"))
    assert several.platform == "linux/amd64,linux/arm64,linux/arm/v7"
