# SPDX-License-Identifier: Apache-2.0
"""Edits of a RUN's shell text: a further command behind one that is there, a word behind a word.

The new text takes the file's style: `&&` at the beginning or at the end of lines, or `;`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Edit, Range
from wherry.advice.reading.run_text import text_of
from wherry.frontends.dockerfile.instructions import Run

if TYPE_CHECKING:
    from wherry.advice.reading.shell_words import Command, Word
    from wherry.advice.views import Line

_ERREXIT: Final = re.compile(r"-[A-Za-z]*e[A-Za-z]*|errexit")
_CLOSES: Final = re.compile(r"(?:;;|fi\b|done\b|esac\b|else\b|elif\b|\}|\)|\Z)")


def is_script(line: Line) -> bool:
    """Whether a line is a RUN in shell form: the only one whose words have places of their own."""
    typed = line.instruction
    return isinstance(typed, Run) and typed.command.shell


def insert_after(line: Line, word: Word, text: str) -> Edit:
    """Put text right behind a word of a RUN in shell form."""
    end = line.place(word.start, word.end).end
    return Edit(Range(end, end), text)


def append_command(line: Line, after: Command, text: str) -> Edit | None:
    """Run `text` when `after` succeeded; None where that is not plain to write.

    A failure of `after` must stop the build as it did before. A list `a && b` in the middle of a
    script hides the failure of `a` from `set -e`, so that `;` is kept there.
    """
    if not is_script(line) or after.nested or after.either:
        return None
    script = text_of(line)
    end = max([after.end, *(item.target.end for item in after.redirects)])
    following = script[end:].lstrip(" \t")
    before = script[: after.start].rstrip(" \t")
    joint = _joint(following, stops=_stops_on_error(line, after), listed=before[-1:] in (";", "\n"))
    if not joint:
        return None
    place = line.place(end - 1, end).end
    return Edit(Range(place, place), _joined(line, after, joint, text))


def _joint(following: str, *, stops: bool, listed: bool) -> str:
    if following.startswith("&&") or following.startswith(")"):
        return "&&"
    if not following.strip():
        return ";" if stops and listed else "&&"
    if following[0] in ";\n":
        if following.startswith(";;"):
            return ";" if stops else "&&"
        last = _CLOSES.match(following[1:].lstrip()) is not None
        return "&&" if last and not stops else ";"
    return ""


def _joined(line: Line, after: Command, joint: str, text: str) -> str:
    first, last = line.node.range.lines
    lines = line.subject.text.lines
    if line.node.heredocs:
        indent = line.subject.text.indent(line.place(after.start, after.end))
        return f"\n{indent}{text}" if joint == ";" else f" && {text}"
    if first == last:
        return f"; {text}" if joint == ";" else f" && {text}"
    escape = line.subject.parsed.escape
    indent = _indent(line, lines[first:last])
    if joint == ";":
        return f"; {escape}\n{indent}{text}"
    at_end = re.compile(r"&&\s*" + re.escape(escape) + r"\s*\Z")
    if any(at_end.search(item) for item in lines[first - 1 : last]):
        return f" && {escape}\n{indent}{text}"
    return f" {escape}\n{indent}&& {text}"


def _indent(line: Line, lines: Sequence[str]) -> str:
    """How far further commands stand in, by the lines behind the first.

    Where none of them begins a command, words stand there, perhaps far to the right.
    """
    blanks = [item[: len(item) - len(item.lstrip(" \t"))] for item in lines]
    ends = re.compile(r"(?:&&|;|\|\|)\s*" + re.escape(line.subject.parsed.escape) + r"\s*\Z")
    for at, item in enumerate(lines):
        if item.lstrip().startswith("&&") or (
            at and ends.search(lines[at - 1]) and not item.lstrip().startswith("#")
        ):
            return blanks[at]
    if ends.search(line.subject.text.lines[line.node.range.lines[0] - 1]):
        return blanks[0]
    own = line.subject.text.indent(line.range)
    return min(*blanks, own + "    ", key=len)


def _stops_on_error(line: Line, after: Command) -> bool:
    """Whether `set -e` holds where a command stands."""
    if any(_ERREXIT.fullmatch(word) for word in line.state.shell[1:]):
        return True
    return any(
        command.program == "set" and any(_ERREXIT.fullmatch(word) for word in command.arguments)
        for command in line.commands
        if command.start < after.start
    )
