# SPDX-License-Identifier: Apache-2.0
"""Random ignore files and wildcards through wherry and moby: both must make the same of them."""

from __future__ import annotations

import re
from collections import Counter
from random import Random
from typing import Any

import pytest

from oracle_program import Answer, Oracle
from wherry.errors import UsageError
from wherry.fstree.ignore import TOP, IgnoreRules, read_rules
from wherry.fstree.wildcard import WildcardError, match

NAMES = (
    "a",
    "b",
    "ab",
    "dir",
    "keep",
    "x.go",
    "y.log",
    ".x",
    "é",
    "日",
    "A1",
    "a b",
    "!",
    "-",
    "^a",
)
PIECES = (
    "*", "*", "**", "?", "/", "/", "a", "b", "[ab]", "[^a]", "[!a]", "[a-c]", "\\a", "\\*", "\\?",
    "[*]", "[?]", "[**]", "[^é]", "[é-日]", "[\\]]", "]", "[", "^", "$", "(", ")", "|", "+", ".",
    "{", "}", "{1}", "{2}", "{0,1}", "{1,}", "{,2}", "{01}", "{1001}", "{2,1}", "\\[", "\\p{Lu}",
    "\\P{^n}", "\\pl", "\\x{61}", "\\d", "\\w", "\\W", "\\pL", "\\PN", "\\p", "\\b", "\\B",
    "\\z", "\\A", "\\Q", "\\E", "\\x61", "\\x", "\\141", "\\0", "\\1", "\\n", "\\C", "\\é",
    "[[:alpha:]]", "[[:^digit:]x]", "[[:no:]]", "[\\d]", "[\\D-]", "[\\pL]", "[a-]", "[-a]",
    "[b-a]", "[]a]", "[^]", "[\\x61-c]", "\\", "!", "#", "\ufffd", "\udcff", "\udcc3", "\n", " ",
)  # fmt: skip
SPACES = ("", "", "", "", " ", "\t", "\r", "\xa0", "\x1c", "\v", "\u3000")
SOUP = "*?[]^\\/!.-ab\né\ufffd"
FILE_SOUP = "*?[]^\\/!.-ab é#\r\x85\x1f"


def rule(random: Random) -> str:
    """Mostly what people write, some of it what nobody does."""
    if random.random() < 0.15:
        return "".join(random.choice(PIECES) for _ in range(random.randrange(1, 6)))
    parts: list[str] = []
    for _ in range(random.choice((1, 1, 2, 2, 3))):
        parts.append(
            random.choice(
                ("**", "*", "*.go", "a*", "?", "..", ".", "*b*", "**b", "b**", "[^a]*", "")
            )
            if random.random() < 0.4
            else random.choice(NAMES)
        )
    written = random.choice(("", "", "", "/", "./")) + "/".join(parts)
    return written + random.choice(("", "", "", "/", "/**", "/*"))


def rules_text(random: Random) -> str:
    lines: list[str] = []
    for _ in range(random.choice((1, 1, 2, 3, 4, 6))):
        line = rule(random).replace("\n", "")
        if random.random() < 0.3:
            line = "!" + random.choice(SPACES) + line
        if random.random() < 0.05:
            line = "#" + line
        spaces = random.choice(SPACES) if random.random() < 0.2 else "", random.choice(SPACES)
        lines.append(spaces[0] + line + spaces[1])
    text = "\n".join(lines)
    if random.random() < 0.05:
        text = "\ufeff" + text
    return mutated(random, text, FILE_SOUP) if random.random() < 0.3 else text


def mutated(random: Random, text: str, soup: str) -> str:
    for _ in range(random.choice((1, 1, 2, 3))):
        at = random.randrange(len(text) + 1)
        if random.random() < 0.5:
            text = text[:at] + text[at + 1 :]
        else:
            text = text[:at] + random.choice(soup) + text[at:]
    return text


def path(random: Random) -> str:
    odd = (
        "x\ny",
        "a\n",
        "[",
        "]",
        "/",
        "\\",
        "*",
        "\udcff",
        "\ufffd",
        "\udcc3",
        "_",
        "\u0661",
        "a.b",
        "é1",
    )
    parts = [
        random.choice(odd) if random.random() < 0.08 else random.choice(NAMES)
        for _ in range(random.choice((1, 2, 2, 3, 4)))
    ]
    return re.sub("/+", "/", "/".join(parts)).strip("/") or "a"


def ours(asked: dict[str, Any]) -> Answer:
    try:
        read = read_rules(asked["text"])
    except UsageError:
        return {"error": True}
    try:
        rules = IgnoreRules(read)
        excluded = [rules.excludes(path) for path in asked["paths"]]
        walked = [walk(rules, path) for path in asked["paths"]]
    except UsageError:
        return {"error": True, "rules": list(read)}
    for path, hidden in zip(asked["paths"], walked, strict=True):
        assert rules.hides(path) == hidden
        assert bool(rules.deciding_rule(path)) == hidden
    return {"rules": list(read), "excluded": excluded, "walked": walked}


def walk(rules: IgnoreRules, path: str) -> bool:
    """Whether a walk from the top hides the path; directories it need not enter must hide it."""
    state, hidden, entered = TOP, False, True
    for index in [*(at for at, letter in enumerate(path) if letter == "/"), len(path)]:
        hidden, state = rules.step(path[:index], state)
        assert hidden or entered, (path, "is kept, below a directory that need not be entered")
        entered = entered and (not hidden or rules.may_hold_included(path[:index]))
    return hidden


def check_rules(oracle: Oracle, seed: int, count: int) -> Counter[str]:
    """Compare `count` ignore files on twelve paths each; gives how often what came out."""
    random = Random(seed)
    questions = [
        {"text": rules_text(random), "paths": [path(random) for _ in range(12)]}
        for _ in range(count)
    ]
    seen = Counter[str]()
    answers = oracle.ask_all("ignore", questions)
    for asked, theirs in zip(questions, answers, strict=True):
        if "error" in theirs:
            theirs["error"] = True
        mine = ours(asked)
        assert mine == theirs, (asked, mine, theirs)
        seen["errors" if "error" in theirs else "files"] += 1
        seen["hidden"] += sum(theirs.get("walked", ()))
        seen["kept"] += len(theirs.get("walked", ())) - sum(theirs.get("walked", ()))
    return seen


def wildcard(random: Random) -> str:
    text = "".join(random.choice(PIECES) for _ in range(random.choice((1, 2, 3, 4, 6))))
    if random.random() < 0.3:
        text = mutated(random, text, SOUP)
    # Bytes that are not UTF-8 in a pattern are the difference that wherry.fstree.wildcard names.
    return text.replace("\udcff", "").replace("\udcc3", "")


def name_for(random: Random, pattern: str) -> str:
    """A name that the pattern may well match."""

    def letters(most: int) -> str:
        return "".join(random.choice(LETTERS) for _ in range(random.randrange(most + 1)))

    def chosen(found: re.Match[str]) -> str:
        match found[0][0]:
            case "*":
                return letters(2)
            case "?":
                return random.choice(LETTERS)
            case "[":
                return random.choice(found[0][1:-1]) or "a"
            case _:
                return found[0][-1]

    return re.sub(r"\\.|\*|\?|\[[^\]]+\]", chosen, pattern, flags=re.DOTALL)


LETTERS = (*"aaabc/\u00e9日😀*[]\\-^\n\ufffd", "\udcff")


def check_wildcards(oracle: Oracle, seed: int, count: int) -> Counter[str]:
    """Compare `count` wildcards; gives how many matched, did not, and were refused."""
    random = Random(seed)
    questions: list[dict[str, str]] = []
    for _ in range(count):
        pattern = wildcard(random)
        name = name_for(random, pattern if random.random() < 0.8 else wildcard(random))
        questions.append({"pattern": pattern, "name": name})
    seen = Counter[str]()
    answers = oracle.ask_all("match", questions)
    for asked, theirs in zip(questions, answers, strict=True):
        try:
            mine = str(match(asked["pattern"], asked["name"]))
        except WildcardError:
            mine = "error"
        expected = "error" if "error" in theirs else str(theirs["matches"])
        assert mine == expected, (asked, theirs)
        seen[mine] += 1
    return seen


def test_random_ignore_files_hide_what_moby_hides(oracle: Oracle) -> None:
    seen = check_rules(oracle, 1, 300)
    assert min(seen["hidden"], seen["kept"]) > 300, seen


def test_random_wildcards_match_as_in_go(oracle: Oracle) -> None:
    seen = check_wildcards(oracle, 1, 300)
    assert min(seen[kind] for kind in ("True", "False", "error")) > 10, seen


@pytest.mark.soak
def test_many_random_ignore_files_hide_what_moby_hides(oracle: Oracle) -> None:
    seen = Counter[str]()
    for seed in range(2, 22):
        seen += check_rules(oracle, seed, 1000)
    print(f"20,000 ignore files: {dict(seen)}")
    assert min(seen["hidden"], seen["kept"]) > 20_000, seen


@pytest.mark.soak
def test_many_random_wildcards_match_as_in_go(oracle: Oracle) -> None:
    seen = Counter[str]()
    for seed in range(2, 22):
        seen += check_wildcards(oracle, seed, 1000)
    print(f"20,000 wildcards: {dict(seen)}")
    assert min(seen[kind] for kind in ("True", "False", "error")) > 500, seen
