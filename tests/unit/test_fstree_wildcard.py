# SPDX-License-Identifier: Apache-2.0
"""Wildcards as Go's filepath.Match reads them."""

from __future__ import annotations

import time

import pytest

from wherry.errors import UsageError
from wherry.fstree.wildcard import WildcardError, has_wildcard, match, negated


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("", "", True),
        ("", "a", False),
        ("abc", "abc", True),
        ("*", "", True),
        ("*", "abc", True),
        ("*", "a/b", False),
        ("*c", "abc", True),
        ("a*", "ab/c", False),
        ("a*/b", "abc/b", True),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", True),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", False),
        ("a*b?c*x", "abxbbxdbxebxczzx", True),
        ("a*b?c*x", "abxbbxdbxebxczzy", False),
        ("ab[c]", "abc", True),
        ("ab[b-d]", "abc", True),
        ("ab[e-g]", "abc", False),
        ("ab[^c]", "abc", False),
        ("ab[^e-g]", "abc", True),
        ("ab[g-e]", "abf", False),
        ("a\\*b", "a*b", True),
        ("a\\*b", "ab", False),
        ("a?b", "a☺b", True),
        ("a[^a]b", "a☺b", True),
        ("a???b", "a☺b", False),
        ("[a-ζ]*", "\u03b1", True),
        ("*[a-ζ]", "A", False),
        ("a?b", "a/b", False),
        ("a[^x]b", "a/b", True),
        ("[\\]a]", "]", True),
        ("[\\-x]", "x", True),
        ("[x\\-]", "z", False),
        ("*x", "xxx", True),
        ("a\nb*", "a\nbc", True),
        # Bytes that are not UTF-8 count as U+FFFD, and so does what a star leaves of a character.
        ("?", "\udcff", True),
        ("[\ufffd]", "\udcff", True),
        ("[a]", "\udcff", False),
        ("*[^é]", "é", True),
        ("*??", "€", True),
        ("??", "€", False),
    ],
)
def test_a_wildcard(pattern: str, name: str, matches: bool) -> None:
    assert match(pattern, name) is matches


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("[", "a [...] class is not closed"),
        ("[^", "a [...] class is not closed"),
        ("a[", "a [...] class is not closed"),
        ("[a", "a [...] class is not closed"),
        ("[a-", "a [...] class is not closed"),
        ("[]a]", "']' has no place there in a [...] class; escape it"),
        ("[-]", "'-' has no place there in a [...] class; escape it"),
        ("[x-]", "']' has no place there in a [...] class; escape it"),
        ("a\\", "a backslash ends it, and has nothing to escape"),
        ("[\udcff]", "a [...] class holds bytes that are not UTF-8"),
    ],
)
def test_no_wildcard(pattern: str, why: str) -> None:
    with pytest.raises(WildcardError) as caught:
        match(pattern, "a")
    assert caught.value.what == f"not a pattern: {pattern!r}"
    assert caught.value.why == why
    assert isinstance(caught.value, UsageError)


def test_a_fault_shows_only_where_matching_comes_to_it() -> None:
    assert not match("b*[", "a")
    with pytest.raises(WildcardError):
        match("a*[", "abc")


@pytest.mark.parametrize(
    ("text", "found"),
    [("a", False), ("a*", True), ("?", True), ("[", True), ("\\*", False), ("\\\\*", True),
     ("\\", False), ("a\\[b]", False), ("]", False), ("\n*", True)],
)  # fmt: skip
def test_has_wildcard(text: str, found: bool) -> None:
    assert has_wildcard(text) is found


def test_hostile_wildcards_are_quick() -> None:
    start = time.process_time()
    for pattern in ("*a" * 200 + "b", "*a*a*a*a*a*a*a*b", "*?" * 100 + "b", "*[^b]" * 100 + "b"):
        assert not match(pattern, "a" * 4000)
    assert time.process_time() - start < 2


def test_negated() -> None:
    assert negated(((5, 9), (0, 3), (7, 12))) == ((4, 4), (13, 0x10FFFF))
    assert negated(((0, 0x10FFFF),)) == ()
    assert negated(()) == ((0, 0x10FFFF),)
