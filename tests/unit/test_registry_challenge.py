# SPDX-License-Identifier: Apache-2.0
"""Challenges as real registries send them, and headers that nobody should send."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.registry.challenge import Challenge, parse_challenges

HUB = (
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
    'scope="repository:library/alpine:pull"'
)
HUB_PARAMETERS = (
    ("realm", "https://auth.docker.io/token"),
    ("service", "registry.docker.io"),
    ("scope", "repository:library/alpine:pull"),
)

SEVERAL = {
    "Docker Hub": (HUB, (Challenge("bearer", HUB_PARAMETERS),)),
    "nothing": ("", ()),
    "a scheme alone": ("Negotiate", (Challenge("negotiate", ()),)),
    "schemes alone": ("Negotiate, NTLM", (Challenge("negotiate", ()), Challenge("ntlm", ()))),
    "token68": (
        'Negotiate YII=, Basic realm="x"',
        (Challenge("negotiate", ()), Challenge("basic", (("realm", "x"),))),
    ),
    "two in one header": (
        f'Basic realm="a, b", {HUB}',
        (Challenge("basic", (("realm", "a, b"),)), Challenge("bearer", HUB_PARAMETERS)),
    ),
    "the other way round, joined without space": (
        f'{HUB},Basic realm="x"',
        (Challenge("bearer", HUB_PARAMETERS), Challenge("basic", (("realm", "x"),))),
    ),
    "cases and spaces": (
        'bEARER\tRealm = "R" ,  SERVICE= s',
        (Challenge("bearer", (("realm", "R"), ("service", "s"))),),
    ),
    "escapes": (r'Basic realm="a \"b\" \\ c"', (Challenge("basic", (("realm", r'a "b" \ c'),)),)),
    "no commas": (
        'Bearer realm="r" service="s"',
        (Challenge("bearer", (("realm", "r"), ("service", "s"))),),
    ),
    "an unquoted URL": (
        "Bearer realm=https://a.example/t?x=1,service=s",
        (Challenge("bearer", (("realm", "https://a.example/t?x=1"), ("service", "s"))),),
    ),
    "empty elements": (', ,Basic realm="x",,', (Challenge("basic", (("realm", "x"),)),)),
    "an empty value": (
        'Bearer realm=,service="s"',
        (Challenge("bearer", (("service", "s"),)),),
    ),
    "a string without end": (
        'Bearer realm="r",service="s',
        (Challenge("bearer", (("realm", "r"),)),),
    ),
    "a parameter before any scheme": ('realm="x", Basic', (Challenge("basic", ()),)),
    "rubbish": ("\x00\x01 ((( , )))", ()),
    "rubbish before": ('((( , Basic realm="x"', (Challenge("basic", (("realm", "x"),)),)),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_challenges_are_read(name: str) -> None:
    header, expected = SEVERAL[name]
    assert parse_challenges(header) == expected


def test_of_a_parameter_given_twice_the_first_counts() -> None:
    (found,) = parse_challenges('Bearer realm="first", realm="second"')
    assert found.parameter("realm") == "first"
    assert found.parameter("service") == ""


HOSTILE = {
    "parameters": "Bearer " + ",".join(f'p{i}="v"' for i in range(100_000)),
    "challenges": "Basic, " * 100_000,
    "letters": "a" * 1_000_000,
    "backslashes": 'Basic realm="' + "\\" * 1_000_001,
    "open strings": 'a="' * 300_000,
    "equals": "a=" * 500_000,
    "token68 that is none": "Negotiate " + "a" * 500_000 + "(",
    "spaces": "Basic" + " " * 1_000_000 + "(",
    "words": "a " * 500_000,
    "equals behind spaces": ("a" + " " * 1000) * 1000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_cost_no_time(name: str) -> None:
    # Of this thread's own: the machine may be busy.
    began = time.thread_time()
    found = parse_challenges(HOSTILE[name])
    assert time.thread_time() - began < 2
    assert sum(len(challenge.parameters) for challenge in found) < 20_000


@given(st.text(max_size=300))
def test_any_text_is_read_without_an_error(text: str) -> None:
    for challenge in parse_challenges(text):
        assert challenge.scheme == challenge.scheme.lower() != ""
        assert all(name for name, _ in challenge.parameters)


@given(st.text(alphabet='Basic er=",\\ \t', max_size=60))
def test_any_mixture_of_what_matters_is_read_without_an_error(text: str) -> None:
    for challenge in parse_challenges(text):
        assert challenge.scheme.strip('",= \t\\') == challenge.scheme


TOKENS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789-_.!#$%&'*+^`|~", min_size=1,
                 max_size=12)  # fmt: skip
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)


def written(challenge: Challenge) -> str:
    def quoted(value: str) -> str:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'

    pairs = ", ".join(f"{name}={quoted(value)}" for name, value in challenge.parameters)
    return f"{challenge.scheme} {pairs}".rstrip()


@given(
    st.lists(
        st.builds(
            Challenge,
            TOKENS,
            st.lists(st.tuples(TOKENS, VALUES), min_size=1, max_size=4).map(tuple),
        ),
        max_size=4,
    )
)
def test_what_was_written_by_the_rules_is_read_back(challenges: list[Challenge]) -> None:
    assert parse_challenges(", ".join(map(written, challenges))) == tuple(challenges)
