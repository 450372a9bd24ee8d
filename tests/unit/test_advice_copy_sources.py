# SPDX-License-Identifier: Apache-2.0
"""COPYs from what cannot be there are told as what they are: errors of the file."""

from __future__ import annotations

import pytest

from wherry.advice.run import Choice, advise
from wherry.advice.subject import Subject


def told(text: str) -> list[tuple[str, str, str]]:
    subject = Subject("Dockerfile", text)
    return [
        (found.rule.id, subject.text.slice(found.range), found.message)
        for found in advise(subject, Choice(only=frozenset({"GO306"}))).findings
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("build", "stage build stands below, and only stages above can be copied from"),
        ("BUILD", "stage build stands below, and only stages above can be copied from"),
        ("2", "stage 2 stands below, and only stages above can be copied from"),
    ],
)
def test_a_stage_that_is_not_above(name: str, message: str) -> None:
    text = (
        f"FROM alpine:3.24 AS a\nFROM alpine:3.24 AS image\nCOPY --from={name} /x /x\n"
        "FROM alpine:3.24\nFROM alpine:3.24 AS build\n"
    )
    assert told(text) == [("GO000", f"--from={name}", message)]


@pytest.mark.parametrize("name", ["a", "A", "0", "alpine:3.24", "other", "example.com/a/b"])
def test_a_stage_above_or_an_image(name: str) -> None:
    text = f"FROM alpine:3.24 AS a\nFROM alpine:3.24\nCOPY --from={name} /x /x\n"
    assert told(text) == []


@pytest.mark.parametrize("name", ["image", "1", "9", "$A", "Wrong!"])
def test_what_the_reader_of_stages_says_is_told_once(name: str) -> None:
    text = f"FROM alpine:3.24 AS a\nFROM alpine:3.24 AS image\nCOPY --from={name} /x /x\n"
    assert [rule for rule, _, _ in told(text)] == ["GO000"]


def test_a_mount_of_a_stage_below_is_none_of_these() -> None:
    text = "FROM alpine:3.24\nRUN --mount=from=b,target=/b true\nFROM alpine:3.24 AS b\n"
    assert told(text) == []
