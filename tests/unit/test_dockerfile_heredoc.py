# SPDX-License-Identifier: Apache-2.0
"""Heredocs: which words announce one, and what their lines give."""

from __future__ import annotations

import pytest

from wherry.frontends.dockerfile.heredoc import Marker, parse_marker
from wherry.frontends.dockerfile.nodes import Heredoc
from wherry.frontends.dockerfile.parse import parse
from wherry.frontends.dockerfile.source import Problems


def heredocs(text: str) -> tuple[Heredoc, ...]:
    return parse(text).nodes[0].heredocs


@pytest.mark.parametrize(
    ("word", "marker"),
    [
        ("<<EOF", Marker("EOF", True, False, 0)),
        ("<<-EOF", Marker("EOF", True, True, 0)),
        ("3<<EOF", Marker("EOF", True, False, 3)),
        ("<< EOF", Marker("EOF", True, False, 0)),
        ("<<'EOF'", Marker("EOF", False, False, 0)),
        ('<<"E F"', Marker("E F", False, False, 0)),
        ("<<E'O'F", Marker("EOF", False, False, 0)),
        ("<<\\EOF", Marker("EOF", True, False, 0)),
        ("<<E\\'F", Marker("E'F", True, False, 0)),
        ("<<$EOF", Marker("$EOF", True, False, 0)),
        ("<<${E:-f}", Marker("${E:-f}", True, False, 0)),
        ("0" * 5000 + "7<<a", Marker("a", True, False, 7)),
        ("9" * 5000 + "<<a", Marker("a", True, False, 2**64 - 1)),
        ("<<", None),
        ("<<-", None),
        ("<<''", None),
        ("<<<EOF", None),
        ("a<<EOF", None),
        ("<<a<b", None),
        ("EOF", None),
    ],
)
def test_markers(word: str, marker: Marker | None) -> None:
    assert parse_marker(word) == marker


@pytest.mark.parametrize("line", ["RUN {} cat", "COPY {} /a", "add {} /a", "ONBUILD COPY {} /a"])
def test_instructions_that_hold_heredocs(line: str) -> None:
    parsed = parse(f"{line.format('<<EOF')}\n# text\n\nFROM x\n EOF\nEOF\nUSER b\n")
    node = parsed.nodes[0]
    assert node.heredocs == (Heredoc("EOF", "# text\n\nFROM x\n EOF\n", True, False),)
    assert node.range.lines == (1, 6)
    assert node.original == line.format("<<EOF")
    assert [each.keyword for each in parsed.nodes[1:]] == ["USER"]
    if node.child is not None:
        assert (node.child.heredocs, node.child.range.lines) == (node.heredocs, (1, 6))


@pytest.mark.parametrize(
    "line",
    [
        "CMD <<EOF", "ENTRYPOINT <<EOF", "ENV A=<<EOF", "USER <<EOF", "HEALTHCHECK CMD <<EOF",
        "ONBUILD CMD <<EOF", "ONBUILD ONBUILD RUN <<EOF", 'RUN ["<<EOF"]', "RUN '<<EOF'",
        "RUN a<<EOF", "RUN <<<EOF", "RUN \\<<EOF", "RUN --x=<<EOF true",
        # Whose quotes do not pair has no words.
        "RUN echo don't <<EOF", "RUN ${ <<EOF", 'RUN " <<EOF',
    ],
)  # fmt: skip
def test_what_is_no_heredoc(line: str) -> None:
    parsed = parse(f"{line}\nUSER a\n")
    assert [node.keyword for node in parsed.nodes][1:] == ["USER"]
    assert parsed.nodes[0].heredocs == ()


def test_several_in_one_instruction() -> None:
    text = "RUN <<A cat >a && \\\n 3<<-'B' cat\none\nA\n\ttwo\n\tB\nUSER b\n"
    assert heredocs(text) == (
        Heredoc("A", "one\n", True, False),
        Heredoc("B", "\ttwo\n", False, True, 3),
    )


def test_continuations_and_escapes_mean_nothing_in_a_body() -> None:
    assert heredocs("# escape=`\nRUN <<A\na `\nA\n")[0].content == "a `\n"
    assert heredocs("RUN <<A\na \\\nA\n")[0].content == "a \\\n"


def test_carriage_returns_stay_in_a_body() -> None:
    parsed = parse("FROM a\r\nRUN <<A\r\nb\r\nA\r\nUSER c\r\n")
    assert parsed.nodes[1].heredocs[0].content == "b\r\n"
    assert len(parsed.nodes) == 3


def test_the_last_line_may_end_a_heredoc_without_newline() -> None:
    assert heredocs("RUN <<A\nA")[0].content == ""


def test_the_backslash_escapes_whatever_the_directive_says() -> None:
    assert heredocs("# escape=`\nRUN <<\\A ` <<B\n1\nA\n2\nB\n")[1].content == "2\n"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("USER a\nRUN <<EOF\nb\nUSER c\n", "by a line with EOF alone"),
        ("USER a\nRUN <<EOF\nb\n  EOF\n", "line 4 has spaces around EOF"),
        ("USER a\nRUN <<EOF\nb\nEOF \n", "line 4 has spaces around EOF"),
    ],
)
def test_a_missing_end_is_told_where_it_begins(text: str, hint: str) -> None:
    with pytest.raises(Problems) as caught:
        parse(text)
    (problem,) = caught.value.problems
    assert problem.message == "the heredoc EOF has no end"
    assert problem.range.lines == (2, 2)
    assert hint in problem.hint


def test_a_marker_with_half_a_quote_is_refused() -> None:
    with pytest.raises(Problems, match="not a heredoc's marker"):
        parse('RUN ${A:- <<"b c"}\n')


def test_variables_nested_deeply_are_followed() -> None:
    assert heredocs("RUN " + "${a:-" * 5000 + "}" * 5000 + " <<A\nb\nA\n")[0].content == "b\n"
