# SPDX-License-Identifier: Apache-2.0
"""Random words through wherry's expansion and BuildKit's: both must make the same of them."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from oracle_program import Oracle
from wherry.frontends.dockerfile.words import WordError, expand, expand_heredoc, expand_words

NAMES = ("a", "b", "name", "_x", "A1", "é", "unset", "missing", "1", "@", "$", "", "#")
OPERATORS = (
    ":-",
    "-",
    ":+",
    "+",
    ":?",
    "?",
    "#",
    "##",
    "%",
    "%%",
    ":",
    ":#",
    "=",
    ":=",
    "::",
    ":}",
)
PLAIN = (
    "a", "b", "abc", "foo", "/", ":", "-", ".", " ", "  ", "\t", "\n", "é", "日本", "\xa0", "\x1c",
    "{", "}", "<", "<<", "<< EOF", "<<-X", "*", "?", "#", "%", "=", "1", "²", "[a]", "\ufeff", "^",
    "|", "(", "+", "😀", "\u2028",
)  # fmt: skip
VALUES = (
    "", "x", "foo/bar/baz", "aXbXc", "two words", " led and trailed ", "line\nbreak\n\nend", "*",
    "$a", "${a}", "a.b.tar.gz", "é日本", "\\", "\\*", "'q'", '"', "aaaa", "?", "a{b}c", "$0$$${0}",
    "x\ty",
)  # fmt: skip
SOUP = "$${{}}:-+?#%/\\\\`'\"*abé \n<^="


def word(random: Random, depth: int) -> str:
    return "".join(piece(random, depth) for _ in range(random.choice((1, 1, 2, 3, 5))))


def piece(random: Random, depth: int) -> str:
    if depth == 0:
        return random.choice(PLAIN)
    inner = lambda: word(random, depth - 1)  # noqa: E731 - a name for short
    name = random.choice(NAMES)
    match random.randrange(12):
        case 0 | 1:
            return f"${name}"
        case 2:
            return f"${{{name}}}"
        case 3 | 4 | 5:
            return f"${{{name}{random.choice(OPERATORS)}{inner()}}}"
        case 6:
            return f"${{{name}{random.choice('//' * 3)}{pattern(random)}/{inner()}}}"
        case 7:
            return f"${{{name}{random.choice(('#', '##', '%', '%%', '//', '/'))}{pattern(random)}}}"
        case 8:
            return f"'{inner()}'"
        case 9:
            return f'"{inner()}"'
        case 10:
            return random.choice("\\\\`") + random.choice(
                (*PLAIN, "$", '"', "'", "\\", "`", "}", "")
            )
        case _:
            return random.choice(PLAIN)


def pattern(random: Random) -> str:
    parts = (
        "*",
        "*",
        "?",
        "a",
        "b",
        "o",
        "/",
        "\\/",
        "X",
        ".",
        "\\*",
        "\\\\",
        "é",
        "\n",
        " ",
        "$a",
        "'*'",
    )
    return "".join(random.choice(parts) for _ in range(random.randrange(5)))


def mutated(random: Random, text: str) -> str:
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(text) + 1)
        match random.randrange(3):
            case 0:
                text = text[:at] + text[at + 1 :]
            case 1:
                text = text[:at] + random.choice(SOUP) + text[at:]
            case _:
                end = random.randrange(len(text) + 1)
                text = text[:at] + text[min(at, end) : max(at, end)] + text[at:]
    return text


def question(random: Random) -> dict[str, Any]:
    text = word(random, random.choice((1, 2, 2, 3)))
    if random.random() < 0.4:
        text = mutated(random, text)
    names = [name for name in NAMES if name not in ("unset", "missing") or random.random() < 0.1]
    env = {name: random.choice(VALUES) for name in names if "=" not in name}
    asked: dict[str, Any] = {"text": text, "env": env, "escape": random.choice("\\\\\\`")}
    for flag in ("raw_quotes", "raw_escapes", "keep_unset"):
        asked[flag] = random.random() < 0.25
    asked["words"] = random.random() < 0.4
    if not asked["words"] and random.random() < 0.2:
        asked.update(keep_quotes=True, escape="\\")
        asked.update(raw_quotes=False, raw_escapes=False, keep_unset=False)
    return asked


def ours(asked: dict[str, Any]) -> dict[str, Any]:
    flags = {name: asked[name] for name in ("raw_quotes", "raw_escapes", "keep_unset")}
    try:
        if asked["words"]:
            return {
                "words": list(expand_words(asked["text"], asked["env"], asked["escape"], **flags))
            }
        if asked.get("keep_quotes"):
            found = expand_heredoc(asked["text"], asked["env"])
        else:
            found = expand(asked["text"], asked["env"], asked["escape"], **flags)
    except WordError:
        return {"error": True}
    used, unmatched = sorted_names(found.used), sorted_names(found.unmatched)
    return {"text": found.text, "used": used, "unmatched": unmatched}


def sorted_names(names: frozenset[str]) -> list[str]:
    return sorted(names, key=lambda name: name.encode())


def check(oracle: Oracle, seed: int, count: int) -> Counter[str]:
    """Compare `count` words; gives how many came to what."""
    random = Random(seed)
    questions = [question(random) for _ in range(count)]
    answers = oracle.ask_all("expand", questions)
    seen = Counter[str]()
    for asked, theirs in zip(questions, answers, strict=True):
        expected = {"error": True} if "error" in theirs else theirs
        assert ours(asked) == expected, (asked, theirs)
        seen["errors" if "error" in theirs else "words" if "words" in theirs else "texts"] += 1
    return seen


def test_random_words_mean_what_they_mean_to_buildkit(oracle: Oracle) -> None:
    seen = check(oracle, 1, 300)
    assert min(seen[kind] for kind in ("errors", "words", "texts")) > 30, seen


@pytest.mark.soak
def test_many_random_words_mean_what_they_mean_to_buildkit(oracle: Oracle) -> None:
    seen = Counter[str]()
    for seed in range(2, 22):
        seen += check(oracle, seed, 1000)
    print(f"20,000 words: {dict(seen)}")
    assert min(seen[kind] for kind in ("errors", "words", "texts")) > 2000, seen
