# SPDX-License-Identifier: Apache-2.0
"""Which findings a Dockerfile switches off by itself.

`# wherry: ignore=GO001,unpinned-base` above an instruction holds for that one, `file-ignore=` for
the whole file. `# hadolint ignore=DL3007` and BuildKit's `# check=skip=NAME` are kept as those
tools have them: the rules that look for the same are silent. BuildKit's names count as they are
written, and its `all` means its own checks.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.model import Position, Range, Rule, Severity
from wherry.frontends.dockerfile.checks import read_checks
from wherry.frontends.dockerfile.refusals import BadValue

if TYPE_CHECKING:
    from wherry.advice.subject import Subject

UNKNOWN: Final = Rule(
    "GO099", "unknown-rule", Severity.INFO, "a comment switches off a rule that there is not",
    lambda _subject, _rule: iter(()),
)  # fmt: skip
"""What is told where all rules are known (`wherry.advice.run`); by itself it finds nothing."""

# Words behind the list are a remark.
_LIST: Final = r"(?P<names>[\w-]+(?:\s*,\s*[\w-]+)*)"
_OURS: Final = re.compile(
    rf"\s*wherry(?:\s*:\s*|\s+)(?P<whole>file-)?ignore\s*=\s*{_LIST}", re.IGNORECASE
)
_HADOLINT: Final = re.compile(
    rf"\s*hadolint\s+(?P<whole>global\s+)?ignore\s*=\s*{_LIST}", re.IGNORECASE
)
_CHECK: Final = re.compile(r"\s*check\s*=\s*(.+)", re.IGNORECASE)
_NAME: Final = re.compile(r"[\w-]+")
_ALL: Final = "all"


class Named(NamedTuple):
    """A rule that one of wherry's own comments names, and where."""

    name: str
    range: Range


class Switches:
    """What is switched off in one file: for all of it, and by instruction.

    `named` is what wherry's own comments name, also rules that there are not.
    """

    def __init__(self, subject: Subject, known: dict[str, frozenset[str]]) -> None:
        """`known` has for each rule's id the names of other tools' rules that mean the same."""
        self.named: list[Named] = []
        self._aliases = known
        self._whole: set[str] = set()
        self._lines: dict[int, set[str]] = {}
        seen: set[int] = set()
        for node in subject.parsed.nodes:
            start = node.range.start.line
            for number, text in _comments_above(subject, start):
                seen.add(number)
                self._read(number, text, self._lines.setdefault(start, set()))
        # A file without an instruction, or with an empty line below its first comments.
        for number, text in enumerate(subject.text.lines, 1):
            if not text.lstrip().startswith("#"):
                break
            if number not in seen:
                self._read(number, text, set())
        directive = subject.parsed.directive("check")
        if directive:
            self._whole |= _skipped(directive)

    def hides(self, rule: str, name: str, place: Range, starts: tuple[int, ...]) -> bool:
        """Whether findings of a rule are switched off at a place.

        `starts` are the first lines of the file's instructions, in order.
        """
        words = {rule.lower(), name.lower(), _ALL, *self._aliases.get(rule, frozenset())}
        words.add(_of_buildkit(rule))
        if not rule.startswith("GO"):
            words.add(_of_buildkit(_ALL))
        if not words.isdisjoint(self._whole):
            return True
        before = bisect_right(starts, place.start.line)
        line = starts[before - 1] if before else 0
        return not words.isdisjoint(self._lines.get(line, set()))

    def _read(self, number: int, text: str, here: set[str]) -> None:
        """Take in what a comment switches off: for the whole file, else `here`."""
        begin = text.index("#") + 1
        for pattern in (_OURS, _HADOLINT):
            found = pattern.match(text, begin)
            if found is None:
                continue
            names = {word[0].lower() for word in _NAME.finditer(found["names"])}
            (self._whole if found["whole"] else here).update(names)
            if pattern is _OURS:
                self.named.extend(_places(number, text, found.span("names")))
            return
        check = _CHECK.match(text, begin)
        if check:
            here |= _skipped(check[1])


def _comments_above(subject: Subject, start: int) -> Iterator[tuple[int, str]]:
    """The comments right above a line, from below, with their numbers."""
    for number in range(start - 1, 0, -1):
        text = subject.text.lines[number - 1]
        if not text.lstrip().startswith("#"):
            return
        yield number, text


def _places(number: int, text: str, span: tuple[int, int]) -> Iterator[Named]:
    for word in _NAME.finditer(text, *span):
        place = Range(Position(number, word.start()), Position(number, word.end()))
        yield Named(word[0], place)


def _skipped(value: str) -> set[str]:
    try:
        return {_of_buildkit(name) for name in read_checks(value).skipped}
    except BadValue:
        return set()


def _of_buildkit(name: str) -> str:
    """A name of BuildKit's, told apart from all that other comments can say."""
    return f"check {name}"
