# SPDX-License-Identifier: Apache-2.0
"""A simple command of a shell text as a value: its words, assignments and redirects."""

from __future__ import annotations

import posixpath
from typing import NamedTuple


class Word(NamedTuple):
    """A word of a command: `raw` as written, `value` without quotes; where it is in the text.

    `fixed` says that no variable or substitution is in it, so that `value` is what the program
    gets; otherwise variables stand in `value` as they are written.
    """

    raw: str
    value: str
    fixed: bool
    start: int
    end: int


class Redirect(NamedTuple):
    """Output or input that goes to a file: the operator and the file."""

    operator: str
    target: Word


class Command(NamedTuple):
    """A simple command.

    `words` holds the program first; `assignments` are the variables set for it alone, or for what
    follows where there is no program. `wrapped` are the words of programs before it that run it
    (`env`, `sudo`, `time`). `nested` says that it is in a substitution, whose output becomes text.
    `depth` counts the groups, conditions, loops and subshells around it; `shell` is a number that
    commands of one shell share: `cd` and `export` count there alone. `negated` or `either` says
    that its failure does not stop the list (`cmd || true`, `! cmd`, conditions).
    """

    words: tuple[Word, ...]
    assignments: tuple[tuple[str, Word], ...]
    redirects: tuple[Redirect, ...]
    wrapped: tuple[Word, ...]
    start: int
    end: int
    nested: bool
    depth: int
    shell: int
    either: bool

    @property
    def program(self) -> str:
        """The program's name without its directory, empty where it is not known."""
        if not self.words or not self.words[0].fixed:
            return ""
        return posixpath.basename(self.words[0].value)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The values of the words behind the program."""
        return tuple(word.value for word in self.words[1:])

    def environment(self) -> dict[str, str]:
        """What its own assignments say, variables as written."""
        return {name: word.value for name, word in self.assignments}


def unquoted(raw: str) -> tuple[str, bool]:
    """A word without its quotes, and whether it holds nothing that a shell works in."""
    if not any(mark in raw for mark in "'\"\\$`*?[~{"):
        return raw, True
    value: list[str] = []
    fixed = True
    at, quote = 0, ""
    while at < len(raw):
        letter = raw[at]
        if quote == "'":
            if letter == "'":
                quote = ""
            else:
                value.append(letter)
        elif letter == "\\" and at + 1 < len(raw):
            following = raw[at + 1]
            if quote and following not in '"\\$`\n':
                value.append(letter)
            if following != "\n":
                value.append(following)
            at += 1
        elif letter == '"':
            quote = "" if quote else '"'
        elif letter == "'" and not quote:
            quote = "'"
        else:
            fixed = fixed and letter not in "$`" and (bool(quote) or letter not in "*?[~{")
            value.append(letter)
        at += 1
    return "".join(value), fixed
