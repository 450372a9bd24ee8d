# SPDX-License-Identifier: Apache-2.0
"""What wherry's parser makes of a Dockerfile beside what BuildKit's makes of it.

Differences that are meant are named in `EXPLAINED` and in docs/dockerfile-differences.md; any other
is an error of wherry's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from oracle_program import Answer, Oracle
from wherry.frontends.dockerfile.nodes import Node, Parsed
from wherry.frontends.dockerfile.parse import parse
from wherry.frontends.dockerfile.source import Problems

KNOWN = frozenset(
    ("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL",
     "MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR")
)  # fmt: skip
# Errors that BuildKit tells with no line, or with one beside the right one.
_WITHOUT_PLACE = re.compile(
    r"only one \w+ parser directive|invalid escape token|file with no instructions|max allowed size"
)


class Difference(NamedTuple):
    """Where the two part: `what` in words, and both views."""

    what: str
    ours: object
    theirs: object


def compare(text: str, theirs: Answer, syntax: Answer) -> Difference | None:
    """The first difference from the answers to `parse` and `syntax`, explained or not."""
    assert "panic" not in theirs, theirs
    refused = theirs.get("error") or syntax.get("check_error")
    try:
        parsed = parse(text)
    except Problems as error:
        if not refused:
            return Difference("refused by wherry alone", str(error), theirs)
        return _other_place(error, theirs)
    if refused:
        return Difference("refused by BuildKit alone", parsed, refused)
    return _other_tree(parsed, theirs) or _other_syntax(parsed, syntax)


def _other_place(error: Problems, theirs: Answer) -> Difference | None:
    if "error" not in theirs or _WITHOUT_PLACE.search(theirs["error"]):
        return None
    ours = [problem.range.lines[0] for problem in error.problems]
    # A line that is too long ends the file for BuildKit, and with it any heredoc.
    if theirs["lines"][0] in ours or "longer than" in str(error):
        return None
    return Difference("the error has another line", error.problems, theirs)


def _other_tree(parsed: Parsed, theirs: Answer) -> Difference | None:
    if parsed.escape != theirs["escape"]:
        return Difference("another escape", parsed.escape, theirs["escape"])
    ours = [_view(node) for node in parsed.nodes]
    expected = [_expected(node) for node in theirs["nodes"]]
    if ours != expected:
        pairs = (pair for pair in zip(ours, expected, strict=False) if pair[0] != pair[1])
        return Difference("another tree", *next(pairs, (ours, expected)))
    if len(parsed.warnings) != len(theirs["warnings"]):
        return Difference("other warnings", parsed.warnings, theirs["warnings"])
    return None


def _other_syntax(parsed: Parsed, syntax: Answer) -> Difference | None:
    ours = next((item for item in parsed.directives if item.name == "syntax"), None)
    if (ours is not None) != syntax["found"]:
        return Difference("another syntax directive", ours, syntax)
    if ours is None:
        return None
    same = (ours.value, [ours.range.start.line] * 2) == (syntax["whole"], syntax["lines"])
    return None if same else Difference("another syntax directive", ours, syntax)


def _view(node: Node, *, child: bool = False) -> dict[str, Any]:
    known = node.keyword in KNOWN
    return {
        "keyword": node.keyword,
        "flags": [_as_bytes_read_one_by_one(flag.text) for flag in node.flags],
        "words": list(node.arguments) if known else None,
        "json": node.json,
        "heredocs": [] if child else [heredoc._asdict() for heredoc in node.heredocs],
        "lines": None if child else node.range.lines,
        "original": node.original,
        "comments": list(node.comments),
        "child": None if node.child is None else _view(node.child, child=True),
    }


def _expected(node: Answer, *, child: bool = False) -> dict[str, Any]:
    keyword = _folded(node["keyword"])
    known = keyword in KNOWN
    return {
        "keyword": keyword,
        "flags": node["flags"],
        "words": node["words"] if known else None,
        "json": node["json"],
        "heredocs": node["heredocs"],
        "lines": None if child else (node["start"], node["end"]),
        "original": node["original"],
        "comments": node["comments"],
        "child": None if node["child"] is None else _expected(node["child"], child=True),
    }


def _folded(keyword: str) -> str:
    """Upper case as BuildKit compares keywords: by their lower case, letter by letter."""
    lower = keyword.replace("\u0130", "i").lower()
    return lower.upper() if lower.isascii() else keyword


def _as_bytes_read_one_by_one(flag: str) -> str:
    """A flag as BuildKit has it, which takes each byte of UTF-8 for a character."""
    return flag.encode("utf-8", "surrogateescape").decode("latin-1")


class Explained(NamedTuple):
    """A difference that is meant: its name, why, and which texts and differences it covers."""

    name: str
    reason: str
    covers: Callable[[str, Difference], bool]


def _says(*words: str) -> Callable[[str, Difference], bool]:
    """wherry alone refuses the text, and says one of these."""
    return lambda _text, found: (
        found.what == "refused by wherry alone" and any(word in str(found.ours) for word in words)
    )


EXPLAINED = (
    Explained("nul", "a file with NUL bytes is no text", lambda text, found: "\0" in text),
    Explained(
        "not UTF-8",
        "BuildKit puts U+FFFD for some bytes that are not UTF-8; wherry keeps them all",
        lambda text, found: any("\udc80" <= char <= "\udcff" for char in text),
    ),
    Explained(
        "bytes in flags",
        "BuildKit reads flags and the type of a HEALTHCHECK by bytes, and takes the bytes 85 and A0"
        " of a character for spaces",
        lambda text, found: (
            ("--" in text or "HEALTHCHECK" in text.upper())
            and any(
                byte in char.encode() for char in text if char > "\x7f" for byte in (0x85, 0xA0)
            )
        ),
    ),
    Explained(
        "comments",
        "of a comment's line BuildKit drops the first byte, which may be half a space",
        lambda text, found: (
            isinstance(found.ours, dict)
            and isinstance(found.theirs, dict)
            and {**found.ours, "comments": ()} == {**found.theirs, "comments": ()}
            and any("\udc80" <= comment[0] <= "\udcff" for comment in found.theirs["comments"])
        ),
    ),
    Explained(
        "other languages",
        "BuildKit takes `// syntax=` and JSON for files of other front ends; wherry knows none of"
        " them, and no instruction of that name",
        lambda text, found: (
            found.what == "another syntax directive"
            and found.ours is None
            and text.removeprefix("\ufeff").startswith(("//", "{", "#!"))
        ),
    ),
    Explained(
        "carriage returns",
        "where a line ends with several, BuildKit takes the others for a syntax directive's value",
        lambda text, found: found.what == "another syntax directive" and "\r\r" in text,
    ),
    Explained(
        "nesting",
        "JSON is followed about 1000 levels deep; what is deeper is refused as BuildKit refuses it"
        " where it is complete",
        _says("may hold strings only"),
    ),
)


def explanation(text: str, found: Difference) -> str:
    """The name of the explanation that covers a difference, empty without one."""
    return next((each.name for each in EXPLAINED if each.covers(text, found)), "")


def differences(oracle: Oracle, texts: Sequence[str]) -> list[tuple[str, Difference, str]]:
    """All differences over some texts, each with the text and the name of its explanation."""
    trees = oracle.ask_all("parse", [{"text": text} for text in texts])
    heads = oracle.ask_all("syntax", [{"text": text} for text in texts])
    found = []
    for text, tree, head in zip(texts, trees, heads, strict=True):
        difference = compare(text, tree, head)
        if difference is not None:
            found.append((text, difference, explanation(text, difference)))
    return found
