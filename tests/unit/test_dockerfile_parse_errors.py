# SPDX-License-Identifier: Apache-2.0
"""What the Dockerfile parser refuses: message, line, and all of a file at once."""

from __future__ import annotations

import pytest

from wherry.frontends.dockerfile.parse import parse
from wherry.frontends.dockerfile.source import Problem, Problems


def problems(text: str | bytes) -> tuple[Problem, ...]:
    with pytest.raises(Problems) as caught:
        parse(text)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "message", "lines"),
    [
        ("", "file with no instructions", (1, 1)),
        ("\n# comment\n\n", "file with no instructions", (1, 1)),
        ("FROM a\nENV A", "ENV needs a name and a value", (2, 2)),
        ("FROM a\nENV A=b \\\n c", 'no = in "c"', (2, 3)),
        ("FROM a\nLABEL a", "LABEL needs a name and a value", (2, 2)),
        ("FROM a\nRUN [1]", "strings only", (2, 2)),
        ('FROM a\nCMD ["a", null]', "strings only", (2, 2)),
        ('FROM a\nCOPY [["a"]]', "strings only", (2, 2)),
        ('FROM a\nHEALTHCHECK CMD [{"a": 1}]', "strings only", (2, 2)),
        ("FROM a\nONBUILD ENV a", "ENV needs a name and a value", (2, 2)),
        ("FROM a\nRUN " + "[" * 30000, "strings only", (2, 2)),
        ("# escape=x\nFROM a", 'not an escape character: "x"', (1, 1)),
        ("# syntax=a\n# Syntax=b\nFROM a", "the directive syntax is given twice", (2, 2)),
        ("# escape=`\n# escape=`\nFROM a", "the directive escape is given twice", (2, 2)),
        ("# check=skip=a;frob=b\nFROM a", 'no option of the check directive: "frob=b"', (1, 1)),
        ("# check=skip\nFROM a", 'no option of the check directive: "skip"', (1, 1)),
        ("# check=error=yes\nFROM a", 'neither true nor false: "error=yes"', (1, 1)),
        ("#!/x\n# check=bad\nFROM a", 'no option of the check directive: "bad"', (2, 2)),
        ("FROM a\n# " + "x" * 65534, "longer than 65535 bytes", (2, 2)),
        ("FROM a\n# " + "é" * 32767, "longer than 65535 bytes", (2, 2)),
        ("FROM a\nRUN b\0c\nENV d", "the file is not text: it holds a NUL byte", (2, 2)),
        (b"\x7fELF\2\1\1\0\0", "the file is not text: it holds a NUL byte", (1, 1)),
        ("FROM a\n".encode("utf-16"), "the file is UTF-16 text", (1, 1)),
    ],
)
def test_refusals(text: str | bytes, message: str, lines: tuple[int, int]) -> None:
    (problem,) = problems(text)
    assert message in problem.message
    assert problem.range.lines == lines
    assert problem.hint


def test_a_lone_continuation_is_an_instruction_without_keyword() -> None:
    # Which none is: for others to refuse.
    assert [node.keyword for node in parse("\\\n").nodes] == [""]


def test_a_line_of_the_longest_length_is_read() -> None:
    parsed = parse("RUN " + "x" * 65531 + "\n" + "RUN " + "x" * 65531)
    assert len(parsed.nodes) == 2


def test_all_problems_are_told_in_the_order_of_lines() -> None:
    text = (
        "# check=bad\n# check=skip=a\nFROM a\nENV b\nRUN [2]\nRUN ok\nLABEL c\nRUN <<EOF\nENV d\n"
    )
    found = problems(text)
    assert [problem.range.start.line for problem in found] == [1, 2, 4, 5, 7, 8]
    assert "EOF" in found[-1].message


def test_a_file_of_errors_alone_is_not_called_empty() -> None:
    (problem,) = problems("ENV a")
    assert problem.message.startswith("ENV")


def test_a_problem_covers_its_instruction() -> None:
    (problem,) = problems("FROM a\n  ENV a=b \\\n c\n")
    assert problem.range == ((2, 2), (3, 2))
