# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile parser: how instructions are split, and where they stand."""

from __future__ import annotations

import pytest

from wherry.frontends.dockerfile.nodes import Node
from wherry.frontends.dockerfile.parse import parse, parse_instruction
from wherry.frontends.dockerfile.source import Position, Problems, Range


def one(text: str) -> Node:
    """The only instruction of a text."""
    (node,) = parse(text).nodes
    return node


def place(first: int, start: int, last: int, end: int) -> Range:
    return Range(Position(first, start), Position(last, end))


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        ("FROM --platform=x golang:1.26  AS\tbuild", ("golang:1.26", "AS", "build")),
        ("ENV A=b C='d e' F=\"g h\" I=j\\ k", ("A", "b", "=", "C", "'d e'", "=", "F", '"g h"', "=",
                                              "I", "j\\ k", "=")),
        ("ENV A b  c=d ", ("A", "b  c=d", "")),
        ("LABEL a.b=c=d", ("a.b", "c=d", "=")),
        ("LABEL a=", ("a", "", "=")),
        ("ENV", ()),
        ("ARG A B=c 'D=e f'", ("A", "B=c", "'D=e f'")),
        ("COPY a  b\tc /d/", ("a", "b", "c", "/d/")),
        ("EXPOSE 80 443/tcp", ("80", "443/tcp")),
        ("USER  a b ", ("a b",)),
        ("WORKDIR /a  b", ("/a  b",)),
        ("MAINTAINER A B", ("A B",)),
        ("STOPSIGNAL 9", ("9",)),
        ("RUN  echo  a  ", ("echo  a",)),
        ("SHELL a b", ("a b",)),
        ("HEALTHCHECK NONE", ("NONE",)),
        ("HEALTHCHECK --interval=5s CMD  a  b", ("CMD", "a  b")),
        ("FROB a  b", ("a  b",)),
        ("RUN", ()),
        ("HEALTHCHECK", ()),
    ],
)  # fmt: skip
def test_arguments_are_split_by_keyword(line: str, arguments: tuple[str, ...]) -> None:
    node = one(line)
    assert (node.arguments, node.json) == (arguments, False)


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        ('RUN ["a", "b c"]', ("a", "b c")),
        ('CMD [ "a"\t,"b" ] ', ("a", "b")),
        ("ENTRYPOINT []", ()),
        ('SHELL ["\\u00e9\\n\\"\\/"]', ('é\n"/',)),
        ('COPY ["a b", "/c"]', ("a b", "/c")),
        ('VOLUME ["/a"]', ("/a",)),
        ('HEALTHCHECK CMD ["a", "b"]', ("CMD", "a", "b")),
        ('RUN ["\\ud83d\\ude00 \\ud83d \\\\ud800"]', ("😀 \ufffd \\ud800",)),
    ],
)
def test_exec_forms(line: str, arguments: tuple[str, ...]) -> None:
    node = one(line)
    assert (node.arguments, node.json) == (arguments, True)


@pytest.mark.parametrize(
    "rest",
    ["['a']", '["a",]', '["a"', '["a"] # c', '["a"]x', "[ -f a ]", "[NaN]", '["\\x"]', "[1e999]",
     '["a" "b"]', "[01]", '["a\tb"]'],
)  # fmt: skip
def test_what_is_no_json_is_a_shell_form(rest: str) -> None:
    node = one(f"RUN {rest}")
    assert (node.arguments, node.json) == ((rest,), False)


def test_flags_are_unquoted_and_have_places() -> None:
    node = one("COPY --from=a --chmod='7 5' --x=\\ y \\\n  --link -- --not a b")
    assert [flag.text for flag in node.flags] == ["--from=a", "--chmod=7 5", "--x= y", "--link"]
    assert [flag.range for flag in node.flags] == [
        place(1, 5, 1, 13), place(1, 14, 1, 27), place(1, 28, 1, 35), place(2, 2, 2, 8),
    ]  # fmt: skip
    assert node.rest == "--not a b"


def test_a_flag_after_an_argument_is_an_argument() -> None:
    node = one("RUN a --mount=b")
    assert (node.flags, node.arguments) == ((), ("a --mount=b",))


def test_a_flag_over_two_lines_has_both() -> None:
    (flag,) = one("RUN --mount=a,\\\nb=c true").flags
    assert (flag.text, flag.range) == ("--mount=a,b=c", place(1, 4, 2, 3))


def test_continuations_skip_comments_and_empty_lines() -> None:
    parsed = parse("FROM a\nRUN a \\\n  # comment\n\n  b \\ \t\n\t#c\n\\\n  c\nUSER d\n")
    run = parsed.nodes[1]
    assert run.original == "RUN a   b   c"
    assert run.range == place(2, 0, 8, 3)
    assert parsed.nodes[2].range.lines == (9, 9)
    (warning,) = parsed.warnings
    assert warning.range.lines == (4, 4)
    assert "empty line" in warning.message
    assert warning.hint


def test_an_escaped_escape_continues_nothing() -> None:
    assert [node.rest for node in parse("RUN a\\\\\nRUN b").nodes] == ["a\\\\", "b"]


def test_the_last_line_may_be_continued() -> None:
    node = one("RUN a \\\n")
    assert (node.rest, node.range.lines) == ("a", (1, 1))
    assert one("RUN a \\\n\n").range.lines == (1, 2)


def test_the_escape_directive_changes_continuations_and_words() -> None:
    parsed = parse("# escape=`\nFROM a\nCOPY a `\n c:\\\nENV A=b` c D=e\\ F=g\n")
    assert parsed.escape == "`"
    assert [node.rest for node in parsed.nodes[1:]] == ["a  c:\\", "A=b` c D=e\\ F=g"]
    assert parsed.nodes[2].arguments == ("A", "b` c", "=", "D", "e\\", "=", "F", "g", "=")


def test_line_ends_byte_order_marks_and_case() -> None:
    parsed = parse(b"\xef\xbb\xbf# syntax=a/b\r\nfrom A\r\n\r\n  Run a \\\r\n b\r\n")
    assert parsed.directive("syntax") == "a/b"
    assert [(node.keyword, node.rest) for node in parsed.nodes] == [("FROM", "A"), ("RUN", "a  b")]
    assert parsed.nodes[0].range == place(2, 0, 2, 6)
    assert parsed.nodes[1].range == place(4, 2, 5, 2)


def test_columns_count_characters() -> None:
    assert one("\t USER é日").range == place(1, 2, 1, 9)


def test_bytes_that_are_not_utf8_are_kept() -> None:
    (node,) = parse(b"RUN \xff\xc3\xa9").nodes
    assert node.rest.encode("utf-8", "surrogateescape") == b"\xff\xc3\xa9"


def test_comments_belong_to_the_instruction_below() -> None:
    parsed = parse("# syntax=x\n# gone\n#\n# one\n\n#two\nFROM a\nRUN b\n# last\n")
    assert [node.comments for node in parsed.nodes] == [("one", "two"), ()]


def test_onbuild_holds_an_instruction() -> None:
    node = one("onbuild  --x copy --from=a \\\n b c ")
    assert (node.keyword, node.arguments) == ("ONBUILD", ())
    assert [flag.text for flag in node.flags] == ["--x"]
    child = node.child
    assert child is not None
    assert (child.keyword, child.arguments) == ("COPY", ("b", "c"))
    assert child.original == "copy --from=a  b c"
    assert child.range == place(1, 13, 2, 5)
    assert child.flags[0].range == place(1, 18, 1, 26)


def test_a_chain_of_onbuild_is_followed_a_little() -> None:
    node: Node | None = one("ONBUILD " * 5000)
    depth = 0
    while node is not None:
        node, depth = node.child, depth + 1
    assert 2 < depth < 20


def test_trigger_instructions() -> None:
    node = parse_instruction("COPY <<E /a `\n b\nc\nE", "`")
    assert (node.keyword, node.arguments) == ("COPY", ("<<E", "/a", "b"))
    assert node.heredocs[0].content == "c\n"
    for text in ("", "# a", "RUN a\nRUN b"):
        with pytest.raises(Problems, match="not a single instruction"):
            parse_instruction(text, "\\")
    with pytest.raises(Problems, match="strings only"):
        parse_instruction("RUN [1]", "\\")


def test_keywords_of_other_alphabets_count_only_where_lower_case_says_so() -> None:
    parsed = parse("WOR\u212aDIR a\n\u017fHELL b\nstra\u00dfe c")
    assert [node.keyword for node in parsed.nodes] == ["WORKDIR", "\u017fHELL", "stra\u00dfe"]
