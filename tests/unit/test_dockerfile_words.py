# SPDX-License-Identifier: Apache-2.0
"""Quotes, escapes and variables in the words of a Dockerfile."""

from __future__ import annotations

import time

import pytest

from wherry.frontends.dockerfile.words import (
    Expanded,
    WordError,
    expand,
    expand_heredoc,
    expand_words,
)

VARIABLES = {
    "name": "value", "empty": "", "path": "/usr/lib/x.tar.gz", "two": "a b", "lines": "ab\nab",
    "dollar": "$name", "é": "letter", "1": "one", "stars": "a*c", "abab": "abab",
}  # fmt: skip


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ("$name/$empty.", "value/."),
        ("$unset-$", "-$"),
        ("${name}s ${unset}", "values "),
        ("$é", "letter"),
        ("$1st", "onest"),
        ("$dollar", "$name"),
        ("${unset:-x}${empty:-x}${name:-x}", "xxvalue"),
        ("${unset-x}${empty-x}${name-x}", "xvalue"),
        ("${unset:+x}${empty:+x}${name:+x}", "x"),
        ("${unset+x}${empty+x}${name+x}", "xx"),
        ("${name:?no}${name?no}${empty?no}", "valuevalue"),
        ("${unset:-${unset:-$name}}", "value"),
        ("${unset:-'}'}\"${unset:-a b}\"", "}a b"),
        ("${unset:-\\}}", "}"),
        ("${path#*/}", "usr/lib/x.tar.gz"),
        ("${path##*/}", "x.tar.gz"),
        ("${path%.*}", "/usr/lib/x.tar"),
        ("${path%%.*}", "/usr/lib/x"),
        ("${path#x}${unset#x}", "/usr/lib/x.tar.gz"),
        ("${path#\\/usr}", "/lib/x.tar.gz"),
        ("${path#?usr}", "/lib/x.tar.gz"),
        ("${stars#a\\*}", "c"),
        ("${path/\\//+}", "+usr/lib/x.tar.gz"),
        ("${path//\\//+}", "+usr+lib+x.tar.gz"),
        ("${abab/b*/X}", "aX"),
        ("${abab//a/}", "bb"),
        ("${abab//a?/<$name>}", "<value><value>"),
        ("${abab///-}", "-a-b-a-b-"),
        # Go's templates: only in `//`, as BuildKit has it.
        ("${abab//a/'[$0$$]'}", "[a$]b[a$]b"),
        ("${abab/a/'[$0]'}", "[$0]bab"),
        # Stars stay within a line.
        ("${lines#*\n}", "ab"),
        ("${lines##a*b}", "\nab"),
        ("${lines//a*/X}", "X\nX"),
        ("'$name'\"$name\"", "$namevalue"),
        ("\"a'b\"'c\"d'", "a'bc\"d"),
        ("\\$name \\\\ \\a", "$name \\ a"),
        ('"\\$ \\" \\\\ \\a"', '$ " \\ \\a'),
        ("end\\", "end"),
        ("'\\'", "\\"),
        ("a << b", "a << b"),
    ],
)
def test_a_word_means(word: str, text: str) -> None:
    assert expand(word, VARIABLES).text == text


@pytest.mark.parametrize(
    ("word", "what"),
    [
        ("${name", "a '${' has no '}'"),
        ("${", "a '${' has no '}'"),
        ("${name:", "a '${' has no '}'"),
        ("${name:-x", "a '${' has no '}'"),
        ("${}", "'${' must be followed by a variable's name"),
        ("${:-x}", "'${' must be followed by a variable's name"),
        ("${${name}}", "'{' is no operator for a variable's value"),
        ("${name=x}", "'=' is no operator for a variable's value"),
        ("${name:=x}", "':=' is no operator for a variable's value"),
        ("${name:#x}", "':#' is no operator; write '#'"),
        ("${name:%x}", "':%' is no operator; write '%'"),
        ("${1x}", "'x' is no operator for a variable's value"),
        ("${name/x}", "a '/' is missing between pattern and replacement in "
         "'${name/pattern/replacement}'"),
        ("${name/x/y", "a '${' has no '}'"),
        ("${name#\\x}", "the pattern after '#' is not right: '\\x' means nothing in a pattern"),
        ("${name//\\a/}", "the pattern after '/' is not right: '\\a' means nothing in a pattern"),
        ("${unset?}", "unset: is not allowed to be unset"),
        ("${unset:?}", "unset: is not allowed to be unset"),
        ("${empty:?}", "empty: is not allowed to be empty"),
        ("${empty:?give a $name}", "empty: give a value"),
        # Errors show even in what is not used.
        ("${name:-${unset:?needed}}", "unset: needed"),
        ("'a", "a single quote is not closed"),
        ('a"b', "a double quote is not closed"),
        ('${name:-"}', "a double quote is not closed"),
    ],
)  # fmt: skip
def test_a_wrong_word_is_told(word: str, what: str) -> None:
    with pytest.raises(WordError) as caught:
        expand(word, VARIABLES)
    assert str(caught.value) == f"cannot expand {word!r}: {what}"


def test_messages_show_the_beginning_of_long_words() -> None:
    with pytest.raises(WordError) as caught:
        expand("x" * 10_000 + "${", {})
    assert str(caught.value) == f"cannot expand '{'x' * 80}...': a '${{' has no '}}'"


def test_variables_are_told_by_whether_they_were_set() -> None:
    found = expand("$name ${unset:-$other} ${empty+${é}} '$quoted'", VARIABLES)
    assert found == Expanded(
        "value  letter $quoted", frozenset(("name", "empty", "é")), frozenset(("unset", "other"))
    )


def test_the_escape_can_be_a_backquote() -> None:
    assert expand('c:\\dir\\`$name`` "`$a\\b"', VARIABLES, "`").text == "c:\\dir\\$name` $a\\b"
    # In patterns it stays the backslash.
    assert expand("${stars#a\\*}", VARIABLES, "`").text == "c"


def test_what_is_not_wanted_stays() -> None:
    assert expand("'a' \"b\"", {}, raw_quotes=True).text == "'a' \"b\""
    assert expand("\\a\\$x", {}, raw_escapes=True).text == "\\a\\$x"
    word = "$a ${b} ${c:-d$name} ${e/x/y} ${f:=g} ${h#\\*}"
    kept = expand(word, VARIABLES, keep_unset=True)
    assert kept.text == "$a ${b} ${c:-dvalue} ${e/x/y} ${f:=g} ${h#\\*}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        ("  a  b\tc\nd ", ("a", "b", "c", "d")),
        ("a'b c'\"d e\"\\ f g", ("ab cd e f", "g")),
        ("$two '$two' \"$two\"", ("a", "b", "$two", "a b")),
        ("x$two.", ("xa", "b.")),
        ("'' \"\"", ()),
        ("a << b <<  c", ("a", "<< b", "<<  c")),
        ("a\u3000b\xa0c\x1cd", ("a", "b", "c\x1cd")),
        ("80${unset}/tcp", ("80/tcp",)),
        # Not what one would think, but what BuildKit makes of it.
        ("80${unset:-8}/tcp", ("8/tcp",)),
    ],
)
def test_a_text_has_words(text: str, words: tuple[str, ...]) -> None:
    assert expand_words(text, VARIABLES) == words


def test_words_keep_what_is_asked_for() -> None:
    words = expand_words("'a b' $unset c\\ d", {}, raw_quotes=True, keep_unset=True)
    assert words == ("'a b'", "$unset", "c d")
    assert expand_words("a\\ b", {}, raw_escapes=True) == ("a\\ b",)
    with pytest.raises(WordError, match="a single quote is not closed"):
        expand_words("a 'b", {})


def test_quotes_are_ordinary_in_a_heredoc() -> None:
    body = "it's \"$name\" \\$name `x` ${unset:-'q'}\n"
    assert expand_heredoc(body, VARIABLES).text == "it's \"value\" $name `x` 'q'\n"
    with pytest.raises(WordError, match=r"'\\n' is no operator"):
        expand_heredoc("${name\n", VARIABLES)


def test_bytes_that_are_no_text_stay() -> None:
    assert expand("\udcff$name\udcc3", VARIABLES).text == "\udcffvalue\udcc3"
    assert expand("${x%\udcff}", {"x": "a\udcff"}).text == "a"


@pytest.mark.parametrize(
    "word",
    [
        "x" * 1_000_000,
        "$a " * 300_000,
        "\\a" * 300_000,
        "'a'" * 300_000,
        "${u:-x" * 40_000 + "}" * 40_000,
        '"${u:-x' * 40_000 + '}"' * 40_000,
        "${u:-" * 50_000,
        "${u/" * 50_000,
    ],
    ids=["plain", "variables", "escapes", "quotes", "deep", "deep quotes", "open", "open patterns"],
)
def test_long_and_deep_words_take_time_in_proportion(word: str) -> None:
    start = time.process_time()
    try:
        assert expand(word, {"a": "b"}).text
    except WordError as error:
        assert "has no '}'" in str(error) or "a '/' is missing" in str(error)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "operation",
    [
        "#*a*a*a*a*b",
        "##*a*a*a*a*b",
        "%b*a*a*a*a*",
        "%%b*a*a*a*",
        "/a*a*a*b/x",
        "//a*b/x",
        "//?*b/x",
    ],
)
@pytest.mark.parametrize("value", ["a" * 300_000, "aa\n" * 100_000], ids=["one line", "lines"])
def test_no_pattern_blows_up(operation: str, value: str) -> None:
    start = time.process_time()
    assert expand(f"${{v{operation}}}", {"v": value}).text == value
    assert time.process_time() - start < 5
