# SPDX-License-Identifier: Apache-2.0
"""Parser directives: where they are seen, and which `syntax` is wherry's."""

from __future__ import annotations

import pytest

from wherry.frontends.dockerfile.directives import check_syntax
from wherry.frontends.dockerfile.parse import parse


def directives(text: str) -> list[tuple[str, str, int]]:
    found = parse(text + "\nFROM a\n").directives
    return [(item.name, item.value, item.range.start.line) for item in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# syntax=a", [("syntax", "a", 1)]),
        ("#\t SyNtAx \t=\t a b  ", [("syntax", "a b", 1)]),
        ("#escape=`\n#check=skip=all\n#syntax=a:1",
         [("escape", "`", 1), ("check", "skip=all", 2), ("syntax", "a:1", 3)]),
        ("\ufeff# syntax=a", [("syntax", "a", 1)]),
        ("# syntax=a\r", [("syntax", "a", 1)]),
        ("# syntax= ", [("syntax", " ", 1)]),
        ("# syntax=", []),
        ("\n# syntax=a", []),
        ("# text\n# syntax=a", []),
        ("# unknown=a\n# syntax=a", []),
        ("USER a\n# syntax=a", []),
        ("# syn tax=a", []),
        # Where BuildKit does not see a front end, none is asked for.
        ("  # syntax=a", []),
        ("  # escape=`\n# syntax=a", [("escape", "`", 1)]),
        ("#!/usr/bin/env x\n# syntax=a\n# check=skip=all",
         [("syntax", "a", 2), ("check", "skip=all", 3)]),
        ("#!/usr/bin/env x\n# escape=`\n# syntax=a", [("syntax", "a", 3)]),
        ("#!/usr/bin/env x\n  # syntax=a", []),
    ],
)  # fmt: skip
def test_directives_stand_at_the_top(text: str, expected: list[tuple[str, str, int]]) -> None:
    assert directives(text) == expected


def test_an_escape_directive_after_a_shebang_is_a_comment() -> None:
    assert parse("#!/x\n# escape=`\nFROM a\n").escape == "\\"


@pytest.mark.parametrize(
    "value",
    [
        "docker/dockerfile",
        "docker/dockerfile:1",
        "docker/dockerfile:1.7-labs",
        "docker/dockerfile:labs",
        "docker.io/docker/dockerfile:1",
        "index.docker.io/docker/dockerfile:1.22.0",
        "docker/dockerfile-upstream:master",
        "docker/dockerfile:1@sha256:" + "0" * 64,
        "docker/dockerfile:1 more words",
    ],
)
def test_dockers_own_syntax_is_ours(value: str) -> None:
    assert check_syntax(parse(f"# syntax={value}\nFROM a\n")) is None


@pytest.mark.parametrize(
    "value",
    [
        "example.com/frontend",
        "example.com/docker/dockerfile:1",
        "dockerfile",
        "docker/dockerfiles",
        "docker/dockerfile-copy",
        "DOCKER/dockerfile",
        "-",
    ],
)
def test_other_syntax_is_refused_by_name(value: str) -> None:
    problem = check_syntax(parse(f"# escape=\\\n# syntax={value}\nFROM a\n"))
    assert problem is not None
    assert f"syntax={value}" in problem.message
    assert problem.range.lines == (2, 2)
    assert "docker/dockerfile:1" in problem.hint


def test_no_syntax_is_ours() -> None:
    assert check_syntax(parse("FROM a\n")) is None
