# SPDX-License-Identifier: Apache-2.0
"""For people: each finding with its lines, carets below the words, and what to do.

Secrets in a line are stars: logs are read by more people than the file is.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Severity
from wherry.advice.reports.report import FileReport, Report, Span, span

if TYPE_CHECKING:
    from wherry.advice.model import Finding

_COLORS: Final = {Severity.ERROR: "1;31", Severity.WARNING: "1;33", Severity.INFO: "1;36"}
_BOLD, _DIM = "1", "2"
# Of a long range this many lines are shown, of a long line so many characters.
_MOST_LINES: Final = 3
_WIDTH: Final = 160
_BEFORE: Final = 40
_TAB: Final = "    "


def render(report: Report, *, color: bool = False) -> str:
    """The findings, an empty line between two of them; nothing where there are none."""
    files = (file for file in report.files if file.findings)
    blocks = ("\n".join(block) for file in files for block in _blocks(file, color=color))
    text = "\n\n".join(blocks)
    return f"{text}\n" if text else ""


def headline(file: FileReport, finding: Finding, *, color: bool = False) -> str:
    """A finding in one line."""
    rule, place = finding.rule, span(file.text, finding.range)
    where = _styled(f"{shown(file.path)}:{place.line}:{place.column}", _BOLD, color)
    severity = _styled(rule.severity, _COLORS[rule.severity], color)
    return f"{where} {rule.id} {severity} {rule.name}: {shown(finding.message)}"


def shown(text: str) -> str:
    """A text on one line with a visible letter for each of its own; tabs are blanks.

    Letters that steer a terminal or turn the order of reading are in their place a question mark.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter == "\u00a0" else _TAB if letter == "\t"
        else "\ufffd"
        for letter in text
    )  # fmt: skip


def _blocks(file: FileReport, *, color: bool) -> Iterator[Iterator[str]]:
    from wherry.advice.reading.secret_values import hidden  # noqa: PLC0415 - not for `--help`

    lines = hidden(file.text.whole).split("\n")[: len(file.text.lines)]
    for finding in file.findings:
        yield _block(file, finding, lines, color=color)


def _block(file: FileReport, finding: Finding, lines: list[str], *, color: bool) -> Iterator[str]:
    yield headline(file, finding, color=color)
    style = _COLORS[finding.rule.severity]
    yield from _source(lines, span(file.text, finding.range), color=color, style=style)
    for place, word in finding.related:
        at = span(file.text, place)
        yield f"  see {shown(file.path)}:{at.line}:{at.column}: {shown(word)}"
    if finding.hint:
        yield f"  {_styled('hint:', '36', color)} {shown(finding.hint)}"
    if finding.fix is not None:
        label = "fix:" if finding.fix.safe else "fix (unsafe):"
        yield f"  {_styled(label, '32', color)} {shown(finding.fix.title)}"


def _source(lines: list[str], at: Span, *, color: bool, style: str) -> Iterator[str]:
    last = max(at.line, at.end_line - (at.end_column == 1 and at.end_line > at.line))
    until = min(last, at.line + _MOST_LINES - 1, len(lines))
    width = len(str(until))
    margin = _styled(" " * (width + 2) + " |", _DIM, color)
    for number in range(at.line, until + 1):
        line = lines[number - 1].rstrip("\r")
        start = at.column - 1 if number == at.line else len(line) - len(line.lstrip())
        end = at.end_column - 1 if number == at.end_line else len(line)
        before, marked, after = _window(line, min(start, len(line)), min(end, len(line)))
        gutter = _styled(f"  {number:>{width}} |", _DIM, color)
        yield f"{gutter} {before}{marked}{after}".rstrip()
        carets = _styled("^" * max(_cells(marked), 1), style, color)
        yield f"{margin} {' ' * _cells(before)}{carets}"
    # A text without lines has none to go on from.
    if at.line <= until < last:
        yield f"{margin} ... to line {last}"


def _window(line: str, start: int, end: int) -> tuple[str, str, str]:
    """What is shown of a line: before, in and after the range."""
    end = max(start, end)
    first = 0 if len(line) <= _WIDTH else max(0, min(start - _BEFORE, len(line) - _WIDTH))
    stop = len(line) if len(line) <= _WIDTH else first + _WIDTH
    before = ("…" if first else "") + shown(line[first:start])
    marked = shown(line[start : min(end, stop)])
    after = shown(line[min(end, stop) : stop]) + ("…" if stop < len(line) else "")
    return before, marked, after


def _cells(text: str) -> int:
    """The columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter)
        else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )  # fmt: skip


def _styled(text: str, style: str, color: bool) -> str:
    return f"\x1b[{style}m{text}\x1b[0m" if color else text
