# SPDX-License-Identifier: Apache-2.0
"""Ignore rules: what they hide, how a walk asks them, and what is wrong with them."""

from __future__ import annotations

import time

import pytest

from wherry.errors import UsageError
from wherry.fstree.ignore import TOP, IgnoreRules, read_rules


def walk(rules: IgnoreRules, path: str) -> bool:
    """Whether a walk from the top hides the path."""
    state, hidden = TOP, False
    for index in [*(at for at, letter in enumerate(path) if letter == "/"), len(path)]:
        hidden, state = rules.step(path[:index], state)
    return hidden


def test_a_file_of_rules() -> None:
    text = (
        "# comment\n\n  # no comment\r\n/absolute/path/\n  spaces  \n! /kept\n!\n!  a//b/../c/.\n"
        "\t\n.\n/\n..\n../x\n\xa0wide\u3000\nlast"
    )
    rules = (
        "# no comment", "absolute/path", "spaces", "!kept", "!", "!a/c", ".", "/", "..", "../x",
        "wide", "last",
    )  # fmt: skip
    assert read_rules(text) == rules
    assert read_rules(text.encode()) == rules


def test_a_byte_order_mark_is_no_part_of_the_first_rule() -> None:
    assert read_rules(b"\xef\xbb\xbf# comment\na") == ("a",)
    assert read_rules("\ufeffa\n\ufeffb") == ("a", "\ufeffb")


def test_bytes_that_are_no_text_stay() -> None:
    rules = read_rules(b"a\xff\n*.\xfe\n")
    assert rules == ("a\udcff", "*.\udcfe")
    assert IgnoreRules(rules).excludes("a\udcff")


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_line_of_64_kibibytes_is_refused(end: str) -> None:
    assert read_rules("a\n" + "x" * 65_535 + end) == ("a", "x" * 65_535)
    with pytest.raises(UsageError) as caught:
        read_rules("a\n" + "é" * 32_768 + end)
    assert caught.value.what == "line 2 of the ignore rules is too long"
    assert caught.value.why == "a line holds at most 65,535 bytes"


@pytest.mark.parametrize(
    ("rules", "hidden", "kept"),
    [
        ("", (), ("a", "a/b")),
        ("a", ("a", "a/b", "a/b/c"), ("b/a", "ab")),
        ("a/b", ("a/b", "a/b/c"), ("a", "b", "x/a/b")),
        ("*", ("a", ".a", "a/b"), ()),
        ("*.go", ("a.go", ".go", "a.go/x"), ("a/b.go", "a.gox")),
        ("*/temp*", ("a/temp", "a/temporary/x"), ("temp", "a/b/temp")),
        ("*/*/temp*", ("a/b/temp",), ("a/temp",)),
        ("temp?", ("tempa", "temp1/x"), ("temp", "tempab", "temp/")),
        ("**/*.go", ("a.go", "a/b.go", "a/b/c.go/d"), ("a.gox", "go")),
        ("**/dir", ("dir", "a/dir", "a/dir/file"), ("adir", "dira")),
        ("**", ("a", "a/b"), ()),
        ("**dir", ("dir", "xdir", "a/xdir"), ("dirx",)),
        ("dir/**", ("dir/a", "dir/a/b"), ("dir", "dirx/a")),
        ("dir**", ("dir", "dirx", "dir/a"), ("di",)),
        ("a/**/b", ("a/b", "a/x/b", "a/x/y/b/c"), ("a", "ab", "x/a/b")),
        ("**/a/**/b/**/c.*", ("a/b/c.d", "x/a/y/b/z/c.d", "a/a/b/b/c."), ("a/c.d/b", "b/a/c.d")),
        ("a**b", ("ab", "ax/b", "a/b"), ("axb",)),
        ("*a*b*/*c", ("ab/c", "xaxbx/xc"), ("ba/c", "ab/cx", "ab/x/c")),
        ("[ab]", ("a", "b/x"), ("c", "ab")),
        ("[^ab]", ("c", "c/x"), ("a",)),
        ("[a-c]x", ("bx",), ("dx",)),
        # Not as in a shell: an exclamation mark stands for itself.
        ("[!a]", ("!", "a"), ("b",)),
        ("\\!a", ("!a",), ("a",)),
        ("\\*a", ("*a",), ("xa",)),
        ("\\#a", ("#a",), ("a",)),
        ("a.b", ("a.b",), ("axb",)),
        ("a\\d", ("a1",), ("ad",)),
        ("x.{js,ts}*", ("x.{js,ts}",), ("x.js",)),
        ("*.[[:digit:]]", ("a.1",), ("a.b",)),
        ("a\\Q*\\E", ("a[^/]*", "a[^/]*/y"), ("ab",)),
        ("é*", ("éa", "é\udcff"), ("e",)),
        ("[^a]b*", ("/b", "\udcffb", "ébc"), ("ab",)),
        ("*", ("line\nbreak", "a\n"), ()),
        ("**/x?", ("x\n",), ("line\nbreak/xy",)),
        ("*\n!keep", ("a", "a/keep"), ("keep", "keep/a")),
        ("dir\n!dir/sub/keep", ("dir", "dir/a", "dir/sub", "dir/sub/x"), ("dir/sub/keep",)),
        ("a\n!a\na", ("a", "a/b"), ()),
        ("!a\na", ("a",), ()),
        ("*.md\n!README*.md\nREADME-secret.md", ("a.md", "README-secret.md"), ("README.md",)),
        ("**\n!**/*.go\n!go.mod", ("a", "a/b"), ("a.go", "a/b.go", "go.mod")),
    ],
)
def test_rules(rules: str, hidden: tuple[str, ...], kept: tuple[str, ...]) -> None:
    read = IgnoreRules(read_rules(rules))
    assert [path for path in (*hidden, *kept) if read.excludes(path)] == [*hidden]
    assert [path for path in (*hidden, *kept) if walk(read, path)] == [*hidden]


@pytest.mark.parametrize(
    ("rules", "path", "excluded", "walked"),
    [
        (("a/b", "!a"), "a/b", False, True),
        (("a/b", "!a"), "a/b/c", False, True),
        (("dir", "!dir/keep", "dir"), "dir/keep", True, False),
    ],
)
def test_a_walk_does_not_ask_again(
    rules: tuple[str, ...], path: str, excluded: bool, walked: bool
) -> None:
    # As BuildKit walks: rules that could not change the verdict on a directory were not asked.
    read = IgnoreRules(rules)
    assert read.excludes(path) is excluded
    assert walk(read, path) is walked
    assert read.hides(path) is walked


@pytest.mark.parametrize(
    ("rules", "directory", "may"),
    [
        (("*",), "a", False),
        (("*", "!b"), "a", False),
        (("*", "!a/x"), "a", True),
        (("*", "!a/x/y"), "a/x", True),
        (("*", "!a/x"), "a/xy", False),
        (("*", "!a/*.go"), "a", True),
        (("*", "!a/*.go"), "b", False),
        (("*", "!*.go"), "a", True),
        (("*", "!**/x"), "a/b", True),
        (("*", "!a**"), "abc", True),
        (("*", "!a**"), "bc", False),
        (("*", "!b|a*"), "a", True),
    ],
)
def test_where_a_walk_need_not_go(rules: tuple[str, ...], directory: str, may: bool) -> None:
    assert IgnoreRules(rules).may_hold_included(directory) is may


def test_the_rule_that_hid_a_path_is_known() -> None:
    rules = IgnoreRules(("*.log", "dir", "!dir/keep", "dir/keep/*.tmp"))
    assert rules.deciding_rule("a.log") == "*.log"
    assert rules.deciding_rule("dir/x/y") == "dir"
    assert rules.deciding_rule("dir/keep/a") == ""
    assert rules.deciding_rule("dir/keep/a.tmp") == "dir/keep/*.tmp"
    assert rules.deciding_rule("other") == ""
    assert rules and not IgnoreRules(("", "  "))


@pytest.mark.parametrize(
    ("rule", "what", "why"),
    [
        ("a/[", "the ignore rule 'a/[' is not a pattern", "a [...] class is not closed"),
        ("!a\\", "the ignore rule '!a\\\\' is not a pattern",
         "a backslash ends it, and has nothing to escape"),
        ("!", "the ignore rule '!' names nothing", ""),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_told_at_once(rule: str, what: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        IgnoreRules(("fine", rule))
    assert (caught.value.what, caught.value.why) == (what, why)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("a*[", "it ends too early"),
        ("[b-a]", "the range b-a is upside down"),
        ("[[:no:]]", "there is no class [:no:]"),
        ("*\\y", "'\\y' means nothing there"),
        ("*\\1", "'\\1' means nothing there"),
        ("*\\pQ", "the class \\p{Q} is not known"),
        ("a{2,1}*", "{2,1} cannot be that often"),
        ("a{1001}*", "{1001} cannot be that often"),
        ("*{2}", "{2} has nothing to repeat"),
    ],
)
def test_an_odd_rule_is_wrong_once_it_is_tried(rule: str, why: str) -> None:
    rules = IgnoreRules((rule,))
    for ask in (rules.excludes, rules.step, rules.hides):
        with pytest.raises(UsageError) as caught:
            ask("abc")
        assert (caught.value.what, caught.value.why) == (
            f"the ignore rule {rule!r} is not a pattern", why,
        )  # fmt: skip
    # A "!" rule is not tried while nothing is hidden.
    assert not IgnoreRules((f"!{rule}",)).excludes("abc")


PATHS = [
    path
    for a in range(20)
    for path in (
        f"dir{a}",
        *(f"dir{a}/sub{b}" for b in range(10)),
        *(f"dir{a}/sub{b}/some_file_{c}.txt" for b in range(10) for c in range(100)),
    )
]
PLAIN = ("node_modules", "*.log", "**/*.go", "dir/**", "dir1", "**/.git", "docs/*.md", "build")


@pytest.mark.parametrize(
    "rules",
    [(*PLAIN, "*.tmp", "**/x/**/y"), (*PLAIN, "!dir1/sub1", "!**/keep.go")],
    ids=["plain", "taken back"],
)
def test_twenty_thousand_paths_take_a_moment(rules: tuple[str, ...]) -> None:
    best = 1.0
    for _ in range(3):
        start = time.process_time()
        read = IgnoreRules(rules)
        states = {"": TOP}
        hidden = 0
        for path in PATHS:
            verdict, states[path] = read.step(path, states[path.rpartition("/")[0]])
            hidden += verdict
        best = min(best, time.process_time() - start)
        assert hidden == (910 if "!dir1/sub1" in rules else 1011)
    # About 0.03 s on a quiet machine: this is no measurement, but paths times rules would show.
    assert best < 2


@pytest.mark.parametrize(
    "rule",
    ["*a*a*a*a*a*a*a*b", "**/" * 200 + "x", "**/*/" * 100 + "x", "*a" * 500 + "b",
     "**/a" * 100 + "b", "a**" * 50 + "b", "[^a]*" * 50 + "b", "a{1000}" * 100 + "*b"],
)  # fmt: skip
def test_hostile_rules_do_not_blow_up(rule: str) -> None:
    rules = IgnoreRules((rule,))
    start = time.process_time()
    for path in ("a" * 4000, "a/" * 2000 + "a", "é" * 1000, "a\n" * 1000):
        assert not rules.step(path)[0]
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("rule", "hidden", "kept"),
    [("?*.env", "secrets.env", ".env"), ("a?*", "abc", "a"), ("**/?*.go", "d/main.go", "d/.go")],
)
def test_a_question_mark_before_a_star_is_a_character_of_its_own(
    rule: str, hidden: str, kept: str
) -> None:
    rules = IgnoreRules((rule,))
    assert rules.hides(hidden)
    assert not rules.hides(kept)
