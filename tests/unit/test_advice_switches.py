# SPDX-License-Identifier: Apache-2.0
"""What a Dockerfile switches off: in which words, for which lines, for which rules."""

from __future__ import annotations

import re

import pytest

from wherry.advice.catalogue import ALIASES, RULES
from wherry.advice.model import Severity
from wherry.advice.run import Choice, advise
from wherry.advice.subject import Subject

OLD = "FROM alpine:3.24\nENV A b\n"


def told(text: str, choice: Choice = Choice()) -> list[tuple[str, int]]:  # noqa: B008 - a value
    """The rules that say something, with the lines, in order."""
    found = advise(Subject("Dockerfile", text), choice).findings
    return [(finding.rule.id, finding.range.start.line) for finding in found]


@pytest.mark.parametrize(
    "comment",
    [
        "# wherry: ignore=GO306",
        "# wherry: ignore=go306",
        "# wherry: ignore=unpinned-base",
        "# Wherry: Ignore = GO101, GO306",
        "# wherry: ignore=GO101,GO306 since it is built each night",
        "#wherry:ignore=GO306",
        "# wherry ignore=GO306",
        "# wherry: ignore=DL3007",
        "# wherry: ignore=all",
        "# hadolint ignore=DL3006,DL3018",
        "# hadolint ignore=DL3018, DL3007",
        "# hadolint ignore=DL3007 moves each night",
        "# hadolint ignore = dl3007",
        "# check=skip=GO306",
        "# wherry: ignore=GO306\n# another word",
        "# another word\n# wherry: ignore=GO306",
    ],
)
def test_an_instruction_is_switched_off(comment: str) -> None:
    assert told(f"FROM scratch\n{comment}\nFROM alpine\nFROM alpine\n") == [
        ("GO306", comment.count("\n") + 4)
    ]


@pytest.mark.parametrize(
    "comment",
    [
        "# wherry: ignore=GO101",
        "# wherry: ignore GO306",
        "# wherry-ignore=GO306",
        "# hadolint ignore=DL3008",
        "# hadolint GO306",
        "# check=skip=all",
        "# check=skip=LegacyKeyValueFormat",
        "# wherry: ignore=GO306\n",
    ],
)
def test_what_switches_nothing_off(comment: str) -> None:
    found = told(f"FROM scratch\n{comment}\nFROM alpine\n")
    assert [name for name, _ in found] == ["GO306"]


@pytest.mark.parametrize(
    "comment",
    [
        "# wherry: file-ignore=GO306",
        "# syntax=docker/dockerfile:1\n# wherry: file-ignore=GO101,unpinned-base",
        "# wherry: file-ignore=GO306\n",
        "# hadolint global ignore=DL3007",
        "# check=skip=GO306",
    ],
)
def test_a_file_is_switched_off(comment: str) -> None:
    assert told(f"{comment}\nFROM alpine\nFROM alpine\n") == []


def test_a_file_is_switched_off_from_any_instruction() -> None:
    text = "FROM alpine\n# wherry: file-ignore=unpinned-base\nFROM alpine\n"
    assert told(text) == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (f"# check=skip=LegacyKeyValueFormat\n{OLD}", []),
        (f"# check=skip=JSONArgsRecommended,LegacyKeyValueFormat;error=true\n{OLD}", []),
        (f"# check=skip=legacykeyvalueformat\n{OLD}", [3]),
        (f"# check=skip=legacy-key-value-format\n{OLD}", [3]),
        (f"# check=skip=all\n{OLD}", []),
        (f"# wherry: file-ignore=legacy-key-value-format\n{OLD}", []),
        (f"# check=skip=JSONArgsRecommended\n{OLD}", [3]),
        (f"# check=skip=\n{OLD}", [3]),
        (f"# check=nonsense\n{OLD}", [3]),
        ("FROM alpine:3.24\n# check=skip=all\nENV A b\nENV C d\n", [4]),
        ("FROM alpine:3.24\n# check=skip=LegacyKeyValueFormat,X\nENV A b\nENV C d\n", [4]),
    ],
)
def test_build_checks_are_switched_off_as_buildkit_does(text: str, lines: list[int]) -> None:
    found = [line for name, line in told(text) if name == "LegacyKeyValueFormat"]
    assert found == lines


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("DL4000", "FROM alpine:3.24\n{}MAINTAINER Ann\n", 2),
        ("DL3025", "FROM alpine:3.24\n{}CMD run me\n", 2),
        ("DL3000", "FROM alpine:3.24\n{}WORKDIR app\n", 2),
        ("DL3020", "FROM alpine:3.24\n{}ADD a.txt /\n", 2),
        ("DL3024", "FROM alpine:3.24 AS a\n{}FROM alpine:3.24 AS a\n", 2),
        ("DL3029", "{}FROM --platform=linux/amd64 alpine:3.24\n", 1),
        ("DL4003", 'FROM alpine:3.24\n{}CMD ["a"]\nCMD ["b"]\n', 2),
        ("DL4004", 'FROM alpine:3.24\n{}ENTRYPOINT ["a"]\nENTRYPOINT ["b"]\n', 2),
        ("DL3012", "FROM alpine:3.24\n{}HEALTHCHECK CMD a\nHEALTHCHECK CMD b\n", 2),
        ("DL3062", "FROM golang:1.27\n{}RUN go install example.com/a@latest\n", 2),
        ("DL3044", "FROM alpine:3.24\n{}ENV A=1 B=$A\n", 2),
    ],
)
def test_names_of_hadolint(name: str, text: str, line: int) -> None:
    rules = {rule for rule, names in ALIASES.items() if name.lower() in names}
    assert rules & {rule for rule, at in told(text.format("")) if at == line}
    after = told(text.format(f"# hadolint ignore={name}\n"))
    assert not rules & {rule for rule, at in after if at == line + 1}


def test_aliases_are_of_rules_that_there_are() -> None:
    assert set(ALIASES) <= {rule.id for rule in RULES}
    assert all(re.fullmatch(r"dl\d{4}", name) for names in ALIASES.values() for name in names)


def test_a_name_that_no_rule_has() -> None:
    first = "# wherry: file-ignore=runs-as-rot\n"
    text = f"{first}# wherry: ignore=latest-bases, unpinned-bas\nFROM alpine\n"
    subject = Subject("Dockerfile", text)
    found = [item for item in advise(subject, Choice()).findings if item.rule.id == "GO099"]
    assert [subject.text.slice(item.range) for item in found] == [
        "runs-as-rot", "latest-bases", "unpinned-bas",
    ]  # fmt: skip
    assert [str(item.rule.severity) for item in found] == ["info"] * 3
    assert "runs-as-root" in found[0].hint
    assert "unpinned-base" in found[2].hint


@pytest.mark.parametrize(
    "text",
    [
        "# hadolint ignore=XX1\nFROM alpine:3.24\n",
        "# check=skip=Nonsense\nFROM alpine:3.24\n",
        "# wherry: ignore=all\nFROM alpine:3.24\n",
        "# wherry: ignore=dl3007,GO099\nFROM alpine:3.24\n",
        "# wherry: file-ignore=unknown-rule\n# wherry: ignore=nonsense\nFROM alpine:3.24\n",
        "FROM alpine:3.24\nRUN <<EOF\n# wherry: ignore=nonsense\necho\nEOF\n",
    ],
)
def test_names_that_are_known_or_not_ours(text: str) -> None:
    assert [name for name, _ in told(text) if name == "GO099"] == []


def test_an_unknown_name_is_told_once_and_can_be_left_out() -> None:
    text = "# wherry: ignore=nonsense\nFROM alpine:3.24\n# wherry: ignore=nonsense\nUSER 1\n"
    assert told(text) == [("GO099", 1)]
    assert told(text, Choice(ignored=frozenset({"GO099"}))) == []
    assert told(text, Choice(only=frozenset({"GO306"}))) == []


def test_a_file_may_make_errors_of_build_checks() -> None:
    text = "{}FROM golang:1.26 as build\nRUN go install example.com/tool@latest\n"
    subject = Subject("Dockerfile", text.format("# check=error=true\n"))
    found = {item.rule.id: item.rule.severity for item in advise(subject, Choice()).findings}
    assert (found["FromAsCasing"], found["GO007"]) == (Severity.ERROR, Severity.WARNING)
    wanted = Choice(severities={"FromAsCasing": Severity.INFO})
    found = {item.rule.id: item.rule.severity for item in advise(subject, wanted).findings}
    assert found["FromAsCasing"] is Severity.INFO
    plain = advise(Subject("Dockerfile", text.format("")), Choice()).findings
    assert all(item.rule.severity is not Severity.ERROR for item in plain)
