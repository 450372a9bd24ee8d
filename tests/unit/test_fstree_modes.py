# SPDX-License-Identifier: Apache-2.0
"""`--chmod`: octal and symbolic modes. The symbolic results are those of BuildKit v0.33.1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import UsageError
from wherry.fstree.modes import parse_mode

_ANY_MODE = st.integers(0, 0o7777)


@pytest.mark.parametrize(
    ("text", "mode"),
    [("755", 0o755), ("0644", 0o644), ("4711", 0o4711), ("07777", 0o7777), ("0", 0)],
)
def test_an_octal_mode_is_the_mode_whatever_was_there(text: str, mode: int) -> None:
    parsed = parse_mode(text)
    assert (parsed.apply(0o4123, is_directory=False), parsed.apply(0, is_directory=True)) == (
        mode,
        mode,
    )


@pytest.mark.parametrize(("text", "mode"), [("4755", 0o755), ("600", 0o600), ("u=rwx,go=", 0o755)])
def test_directories_made_on_the_way_take_the_permission_bits_of_an_octal_mode(
    text: str, mode: int
) -> None:
    assert parse_mode(text).of_parents == mode


@pytest.mark.parametrize(
    ("text", "old", "is_directory", "new"),
    [
        ("u=rwX,go=rX", 0o600, False, 0o644),
        ("u=rwX,go=rX", 0o100, False, 0o755),
        ("u=rwX,go=rX", 0o600, True, 0o755),
        ("+x", 0o644, False, 0o755),
        ("go-rwx", 0o777, False, 0o700),
        ("a=r,u+w", 0o4777, False, 0o644),
        ("u+s,g+s", 0o755, False, 0o6755),
        ("o+s", 0o755, False, 0o755),
        ("+t", 0o777, True, 0o1777),
        ("=", 0o7777, False, 0o1000),
        ("u=", 0o4777, False, 0o077),
        ("g=u", 0o740, False, 0o770),
        ("go=u-w", 0o755, False, 0o755),
        ("u-g", 0o770, False, 0o070),
        ("o+g", 0o750, False, 0o755),
        ("u=go", 0o743, False, 0o343),
        ("-X", 0o755, False, 0o644),
        ("a-x,+X", 0o755, False, 0o755),
        ("a-x+X", 0o644, False, 0o644),
        ("ug+rw-x", 0o711, False, 0o661),
        # The sticky bit narrows those meant to itself, so that the x after it is lost.
        ("+tx", 0o600, False, 0o1600),
        ("+xt", 0o600, False, 0o1600),
    ],
)
def test_symbolic_modes(text: str, old: int, is_directory: bool, new: int) -> None:
    assert f"{parse_mode(text).apply(old, is_directory):o}" == f"{new:o}"


@pytest.mark.parametrize(
    "text", ["", "u", "u+q", "rwx", "u+x,", ",u+x", "u+x;g+x", "+ x", "u+x g+x", "x+u", "-1", "ü+x"]
)
def test_what_is_neither_octal_nor_symbolic_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no mode") as caught:
        parse_mode(text)
    assert "symbolic" in caught.value.why


@pytest.mark.parametrize("text", ["9", "10000", "77777", "0o755", "755x", "7" * 5000, "\u0667"])
def test_numbers_that_are_no_octal_mode_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no mode") as caught:
        parse_mode(text)
    assert "07777" in caught.value.why


@given(mode=_ANY_MODE, old=_ANY_MODE, is_directory=st.booleans())
def test_a_symbolic_mode_that_says_all_bits_is_like_the_octal_one(
    mode: int, old: int, is_directory: bool
) -> None:
    clauses = ["a=,-t"]
    for who, shift in (("u", 6), ("g", 3), ("o", 0)):
        bits = zip("rwx", (4, 2, 1), strict=True)
        letters = "".join(letter for letter, bit in bits if mode >> shift & bit)
        clauses.append(f"{who}+{letters}")
    clauses += [text for text, bit in (("u+s", 4), ("g+s", 2), ("+t", 1)) if mode >> 9 & bit]
    assert parse_mode(",".join(clauses)).apply(old, is_directory) == mode


@given(st.text(alphabet="ugoa+-=rwxXst,07 ", max_size=12), _ANY_MODE)
def test_any_text_is_a_mode_or_refused(text: str, old: int) -> None:
    try:
        new = parse_mode(text).apply(old, is_directory=False)
    except UsageError:
        return
    assert 0 <= new <= 0o7777
