# SPDX-License-Identifier: Apache-2.0
"""Warnings about Dockerfiles that are right, and switching them off."""

from __future__ import annotations

import pytest

from wherry.frontends.dockerfile.checks import read_checks
from wherry.frontends.dockerfile.parse import parse
from wherry.frontends.dockerfile.refusals import BadValue
from wherry.frontends.dockerfile.source import Problem
from wherry.frontends.dockerfile.typed import checks_of, read_dockerfile, warnings_of


def warnings(text: str) -> tuple[Problem, ...]:
    parsed = parse(text)
    return warnings_of(read_dockerfile(parsed), parsed)


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("MAINTAINER Me", "MAINTAINER is deprecated",
         'write LABEL org.opencontainers.image.authors="Me" (check MaintainerDeprecated)'),
        ("ENV A b c", "ENV without = is an old form",
         "write ENV A=VALUE (check LegacyKeyValueFormat)"),
        ("LABEL a b", "LABEL without = is an old form",
         "write LABEL a=VALUE (check LegacyKeyValueFormat)"),
        ("ENV A=1 API_KEY=hunter2",
         "ENV API_KEY looks like a secret, which anyone with the image can read",
         "give it to the RUN that needs it: RUN --mount=type=secret,id=NAME,env=NAME"
         " (check SecretsUsedInArgOrEnv)"),
        ("ARG TOKEN", "ARG TOKEN looks like a secret, which anyone with the image can read",
         "give it to the RUN that needs it: RUN --mount=type=secret,id=NAME,env=NAME"
         " (check SecretsUsedInArgOrEnv)"),
        ("ARG --flag A", "ARG takes no flags here, and ignores --flag", "remove it"),
        ("STOPSIGNAL --flag=x 9", "STOPSIGNAL takes no flags here, and ignores --flag",
         "remove it"),
        ("HEALTHCHECK --interval=1 NONE",
         "HEALTHCHECK takes no flags here, and ignores --interval", "remove it"),
        ("ONBUILD COPY a",
         "this trigger will fail where it is used:"
         " COPY has one path only: the destination is missing",
         "write COPY SOURCE ... DESTINATION"),
        ("FROM y AS A", "there is a stage a already",
         "give it another name (check DuplicateStageName)"),
        ("FROM y AS Scratch", "the stage's name scratch is a word of the language",
         "give it another name (check ReservedStageName)"),
    ],
)  # fmt: skip
def test_warnings(line: str, message: str, hint: str) -> None:
    (warning,) = warnings(f"FROM x AS a\n\n{line}\n")
    assert (warning.message, warning.hint, warning.range.lines) == (message, hint, (3, 3))


@pytest.mark.parametrize(
    "name",
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret",
     "token", "API_KEY", "DATABASE_PASSWORD", "secret_message", "MY_AUTH_CODE", "Token"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert len(warnings(f"FROM x\nARG {name}=1\n")) == 1
    assert len(warnings(f"FROM x\nENV {name}=1\n")) == 1
    assert len(warnings(f'FROM x\nENV "{name}"=1\n')) == 1


@pytest.mark.parametrize(
    "name",
    ["PUBLIC_KEY", "TOKEN_FILE", "key_version", "MONKEY", "KEYS", "AUTHOR", "PASSWORDS", "A",
     "SECRET-MESSAGE", "TOKENIZER"],
)  # fmt: skip
def test_names_of_no_secrets(name: str) -> None:
    assert warnings(f"FROM x\nARG {name}=1\nENV {name}=1\n") == ()


def test_arguments_before_the_first_stage_reach_no_image() -> None:
    assert warnings("ARG TOKEN=1\nFROM x\n") == ()


def test_values_are_in_no_warning() -> None:
    found = warnings("FROM x\nENV PASSWORD hunter2\nARG --token=hunter2 TOKEN=hunter2\n")
    assert len(found) == 4
    assert all("hunter2" not in problem.message + problem.hint for problem in found)


def test_warnings_are_in_the_order_of_lines() -> None:
    found = warnings("FROM x AS a\nARG --f KEY\nMAINTAINER x\nFROM x AS a\nENV A b\n")
    assert [problem.range.lines[0] for problem in found] == [2, 2, 3, 4, 5]


_OLD = "FROM x\nMAINTAINER me\nENV KEY b\n"


@pytest.mark.parametrize(
    ("directive", "left"),
    [
        ("skip=all", 0),
        ("skip=all;error=true", 0),
        ("skip=MaintainerDeprecated", 2),
        ("skip=MaintainerDeprecated,SecretsUsedInArgOrEnv", 1),
        ("error=true;skip=LegacyKeyValueFormat", 2),
        ("skip=Nothing", 3),
        ("experimental=all", 3),
    ],
)
def test_checks_are_switched_off_for_the_file(directive: str, left: int) -> None:
    assert len(warnings(f"# check={directive}\n{_OLD}")) == left


def test_errors_can_be_asked_for() -> None:
    assert checks_of(parse("# check=skip=A;error=true\nFROM x\n")).error
    assert not checks_of(parse("# check=skip=A\nFROM x\n")).error
    assert not checks_of(parse("FROM x\n")).error


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("skp=all", "check=skp=all: there is no option 'skp=all'"),
        ("all", "check=all: there is no option 'all'"),
        ("error=maybe", "check=error=maybe: error: 'maybe' is neither true nor false"),
    ],
)
def test_wrong_checks(value: str, message: str) -> None:
    with pytest.raises(BadValue) as caught:
        read_checks(value)
    assert caught.value.message == message
    assert caught.value.hint


def test_a_comment_switches_checks_off_for_one_instruction() -> None:
    text = "FROM x\n# why\n# check=skip=SecretsUsedInArgOrEnv\nENV A_KEY=1\nENV B_KEY=1\n"
    (warning,) = warnings(text)
    assert warning.message.startswith("ENV B_KEY")
    assert len(warnings(text.replace("skip=", "skp="))) == 2
