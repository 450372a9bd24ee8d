# SPDX-License-Identifier: Apache-2.0
"""Errors as text: three parts, all of several, a traceback only for faults of wherry's own."""

import pytest

from wherry.cli.errors import render_error
from wherry.errors import (
    BuildError,
    InternalError,
    Interrupted,
    SeveralErrors,
    UsageError,
)

COMPILER = "# example.com/movies\n./main.go:12:4: undefined: foo\n\tindented by the compiler"


def test_three_parts_with_the_tools_words_unmangled():
    error = BuildError("go build failed", where="./cmd/api", why=COMPILER + "\n", hint="mend it")
    assert render_error(error, False) == (
        f"error: ./cmd/api: go build failed\n{COMPILER}\nhint: mend it"
    )


def test_missing_parts_leave_no_empty_lines():
    assert render_error(UsageError("no such verb"), False) == "error: no such verb"


def test_long_hint_stays_in_its_column():
    text = render_error(UsageError("x", hint="first\nsecond"), False)
    assert text.splitlines()[1:] == ["hint: first", "      second"]


def test_colour_changes_nothing_but_colour():
    error = BuildError("a", where="b", why=COMPILER, hint="c")
    plain, painted = render_error(error, False), render_error(error, True)
    assert "\x1b" not in plain
    assert COMPILER in painted
    for code in ("\x1b[1;31m", "\x1b[36m", "\x1b[1m", "\x1b[0m"):
        assert code in painted
        painted = painted.replace(code, "")
    assert painted == plain


def test_several_errors_are_all_told():
    error = SeveralErrors((UsageError("a", hint="b"), UsageError("c")))
    assert render_error(error, False) == "error: a\nhint: b\n\nerror: c"


@pytest.mark.parametrize("error", [Interrupted(15), KeyboardInterrupt()])
def test_interruption_is_one_word(error: BaseException):
    assert render_error(error, False) == "interrupted"


def _raise(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as caught:
        return caught


@pytest.mark.parametrize("error", [KeyError("lost"), InternalError("lost"), ValueError()])
def test_fault_of_wherry_keeps_its_traceback_and_asks_for_a_report(error: Exception):
    text = render_error(_raise(error), False)
    assert text.startswith("error: ")
    assert "Traceback (most recent call last)" in text
    assert "in _raise" in text
    assert text.endswith("this is a fault in wherry; report it with this text")
    assert "wherry 0." in text


def test_cause_of_a_fault_is_in_its_traceback():
    fault = InternalError("no op")
    fault.__cause__ = KeyError("the cause")
    assert "the cause" in render_error(fault, False)


def test_users_errors_have_no_traceback():
    assert "Traceback" not in render_error(_raise(BuildError("x")), False)


def test_hostile_text_moves_no_cursor() -> None:
    error = BuildError("cannot read a\x1b[2Jb", why="one\x1b]0;t\x07\n\tkept\r", hint="x\x9by")
    text = render_error(error, False)
    assert not set(text) & {"\x1b", "\x07", "\r", "\x9b"}
    assert "\n\tkept" in text
