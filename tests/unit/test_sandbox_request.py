# SPDX-License-Identifier: Apache-2.0
"""The words of `docker run`, parsed."""

from __future__ import annotations

import pytest

from wherry.errors import code_of
from wherry.sandbox.request import (
    CannotExecute,
    Port,
    ProgramNotFound,
    RunError,
    Volume,
    parse_port,
    parse_volume,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8000", Port(8000, 8000)),
        ("8000:8000", Port(8000, 8000)),
        ("8080:8000", Port(8080, 8000)),
        ("127.0.0.1:8080:8000", Port(8080, 8000, "127.0.0.1")),
        ("[::1]:8080:8000/tcp", Port(8080, 8000, "::1")),
        ("53:53/udp", Port(53, 53, "", "udp")),
    ],
)
def test_ports(text: str, expected: Port) -> None:
    assert parse_port(text) == expected


@pytest.mark.parametrize(
    "text", ["", "a", "0:1", "1:65536", "1:2/udp", "1:2/sctp", "1-2:1-2", "1:2:3", "host:1:2"]
)
def test_ports_that_cannot_be(text: str) -> None:
    with pytest.raises(RunError, match="cannot publish"):
        parse_port(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a:/b", Volume("/a", "/b")),
        ("/a/../c:/b:ro", Volume("/c", "/b", True)),
        ("./x:/b:rw", Volume("/here/x", "/b")),
        ("..:/b:ro,Z", Volume("/", "/b", True)),
    ],
)
def test_volumes(text: str, expected: Volume) -> None:
    assert parse_volume(text, "/here") == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/a", "anonymous"),
        ("name:/b", "named volumes"),
        ("/a:b", "absolute"),
        ("/a:/b:rx", "unknown option 'rx'"),
    ],
)
def test_volumes_that_cannot_be(text: str, words: str) -> None:
    with pytest.raises(RunError) as caught:
        parse_volume(text, "/here")
    assert words in caught.value.why
    assert caught.value.hint


def test_exit_codes_are_dockers() -> None:
    assert [code_of(kind("x")) for kind in (RunError, CannotExecute, ProgramNotFound)] == [
        125,
        126,
        127,
    ]
