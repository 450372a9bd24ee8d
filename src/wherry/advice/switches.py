# SPDX-License-Identifier: Apache-2.0
"""Which findings a Dockerfile switches off by itself.

`# wherry: ignore=GO001,latest-base` above an instruction holds for that one; before the first
instruction, with `file-ignore=`, for the whole file. `# hadolint ignore=DL3007` and BuildKit's
`# check=skip=NAME` are kept as those tools have them: the rules that look for the same are silent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from wherry.frontends.dockerfile.checks import read_checks
from wherry.frontends.dockerfile.refusals import BadValue

if TYPE_CHECKING:
    from wherry.advice.subject import Subject
    from wherry.frontends.dockerfile.source import Range

_OURS: Final = re.compile(r"\s*wherry:?\s+(file-)?ignore\s*=\s*(\S+)", re.IGNORECASE)
_HADOLINT: Final = re.compile(r"\s*hadolint\s+(?:(global)\s+)?ignore\s*=\s*([\w,\s]+)")
_CHECK: Final = re.compile(r"\s*check\s*=\s*(.+)", re.IGNORECASE)


class Switches:
    """What is switched off in one file, in lower case: for all of it, and by instruction."""

    def __init__(self, subject: Subject, known: dict[str, frozenset[str]]) -> None:
        """`known` has for each rule's id the names of other tools' rules that mean the same."""
        self._aliases = known
        self._whole: set[str] = set()
        self._lines: dict[int, set[str]] = {}
        first = True
        for node in subject.parsed.nodes:
            for text in _comments_above(subject, node.range):
                names, whole = _read(text)
                if whole:
                    self._whole |= names if first else set()
                else:
                    self._lines.setdefault(node.range.start.line, set()).update(names)
            first = False
        directive = subject.parsed.directive("check")
        if directive:
            self._whole |= _skipped(directive)
        for text in subject.text.lines[:20]:
            if not text.lstrip().startswith("#"):
                break
            names, whole = _read(text.lstrip()[1:])
            if whole:
                self._whole |= names

    def hides(self, rule: str, name: str, place: Range, starts: tuple[int, ...]) -> bool:
        """Whether findings of a rule are switched off at a place.

        `starts` are the first lines of the file's instructions, in order.
        """
        words = {rule.lower(), name.lower(), "all", *self._aliases.get(rule, frozenset())}
        if not words.isdisjoint(self._whole):
            return True
        line = max((start for start in starts if start <= place.start.line), default=0)
        return not words.isdisjoint(self._lines.get(line, set()))


def _comments_above(subject: Subject, place: Range) -> list[str]:
    found = []
    for line in reversed(subject.text.lines[: place.start.line - 1]):
        text = line.strip()
        if not text.startswith("#"):
            break
        found.append(text[1:])
    return found


def _read(text: str) -> tuple[set[str], bool]:
    """The names that a comment switches off, and whether for the whole file."""
    ours = _OURS.match(text)
    if ours:
        return _names(ours[2]), bool(ours[1])
    other = _HADOLINT.match(text)
    if other:
        return _names(other[2]), bool(other[1])
    check = _CHECK.match(text)
    if check:
        return _skipped(check[1]), False
    return set(), False


def _skipped(value: str) -> set[str]:
    try:
        return {name.lower() for name in read_checks(value).skipped}
    except BadValue:
        return set()


def _names(text: str) -> set[str]:
    return {name.strip().lower() for name in text.split(",") if name.strip()}
