# SPDX-License-Identifier: Apache-2.0
"""A rule about programs and modules of others that are fetched in whatever version is newest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Finding, Rule, Severity
from wherry.advice.reading.go_commands import go_commands

if TYPE_CHECKING:
    from wherry.advice.reading.go_commands import GoCommand
    from wherry.advice.reading.shell_words import Word
    from wherry.advice.subject import Subject

# What moves: queries for the newest, and branches by their usual names.
_MOVING: Final = frozenset(
    ("latest", "upgrade", "patch", "master", "main", "HEAD", "trunk", "develop")
)
_VERBS: Final = frozenset(("install", "get", "run"))


def _unpinned(subject: Subject, rule: Rule) -> Iterator[Finding]:
    own = subject.module.path if subject.module is not None else ""
    for line in subject.lines:
        for command in go_commands(line):
            if command.verb not in _VERBS:
                continue
            for word in command.arguments[: 1 if command.verb == "run" else None]:
                problem = _problem(command, word, own)
                if problem:
                    name = word.value.partition("@")[0]
                    yield rule.find(
                        line.place(word.start, word.end), problem, _hint(command, name),
                    )  # fmt: skip


def _hint(command: GoCommand, name: str) -> str:
    version = re.match(r"(\d+)\.(\d+)", command.line.stage.facts.go)
    if version is not None and (int(version[1]), int(version[2])) < (1, 11):
        return "this Go knows no versions: clone the repository and check a tag out"
    return f"write {name}@VERSION"


def _problem(command: GoCommand, word: Word, own: str) -> str:
    """What is wrong with a package of a command; empty where nothing is."""
    path, at, version = word.value.rpartition("@")
    if at:
        if version not in _MOVING:
            return ""
        return f"@{version} is another version on another day"
    path = word.value
    if command.verb != "get" or not word.fixed or not _is_of_others(path, own):
        return ""
    return f"go get {path} takes the version that is newest on the day"


def _is_of_others(path: str, own: str) -> bool:
    """Whether an import path is one of another module: not a directory, nor of Go's own."""
    first, slash, _ = path.partition("/")
    if "." not in first.strip(".") or not slash or path.startswith((".", "/")):
        return False
    return not own or not f"{path.removesuffix('...').rstrip('/')}/".startswith(f"{own}/")


RULES: Final = (
    Rule("GO007", "unpinned-tool", Severity.WARNING,
         "a tool or module is fetched without a version", _unpinned),
)  # fmt: skip
