# SPDX-License-Identifier: Apache-2.0
"""The commands of a RUN, and where their characters stand in the Dockerfile."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.reading.shell import read_commands
from wherry.advice.reading.shell_words import Command, Word
from wherry.advice.views import POSIX_SHELLS, is_posix_shell
from wherry.frontends.dockerfile.instructions import Run
from wherry.frontends.dockerfile.refusals import SPACES
from wherry.frontends.dockerfile.source import Position, Range

if TYPE_CHECKING:
    from wherry.advice.views import Line

# A heredoc without a program before it is a script for the shell.
_SHELLS: Final = POSIX_SHELLS | {""}


class _Script(NamedTuple):
    """A shell text, and where it begins: in the logical line, or as lines of the file."""

    text: str
    offset: int
    first_line: int = 0


def commands_of(line: Line) -> tuple[Command, ...]:
    """The simple commands of a RUN, in their order; none of what is no RUN."""
    typed = line.instruction
    if not isinstance(typed, Run) or not typed.command.words:
        return ()
    if not typed.command.shell:
        words = tuple(Word(word, word, fixed=True, start=0, end=0) for word in typed.command.words)
        return (Command(words, (), (), (), 0, 0, nested=False, depth=0, shell=0, either=False),)
    if not is_posix_shell(line.state.shell):
        return ()
    return read_commands(_script(line).text)


def text_of(line: Line) -> str:
    """The shell text of a RUN, in which the places of its commands count."""
    return _script(line).text


def place_of(line: Line, start: int, end: int) -> Range:
    """Where characters of a RUN's command stand; the whole instruction for the exec form."""
    typed = line.instruction
    if not isinstance(typed, Run) or not typed.command.shell:
        return line.head
    script = _script(line)
    if script.first_line:
        return Range(_in_lines(script, start), _in_lines(script, end))
    logical = line.subject.text.logical(line.node.range)
    if logical is None:
        return line.head
    return logical.range(script.offset + start, script.offset + end)


def _script(line: Line) -> _Script:
    node = line.node
    rest = node.rest
    marker, _, after = rest.partition("<<")
    if node.heredocs and posixpath.basename(marker.strip(SPACES)) in _SHELLS and after:
        # The body is what runs; a line of `#!` may name another program than a shell.
        first = node.heredocs[0]
        if not first.content.startswith("#!") or _names_shell(first.content):
            text = first.content
            header = line.subject.text.logical(node.range)
            begins = (header.last if header is not None else node.range.start.line) + 1
            return _Script(text, 0, begins)
        return _Script("", 0)
    return _Script(rest, len(node.original.rstrip(SPACES)) - len(rest))


def _names_shell(content: str) -> bool:
    words = content.split("\n", 1)[0].removeprefix("#!").split()
    names = [posixpath.basename(word) for word in words if not word.startswith("-")]
    return bool(names) and (names[-1] in _SHELLS or names[0] in _SHELLS)


def _in_lines(script: _Script, offset: int) -> Position:
    before = script.text[:offset]
    line = before.count("\n")
    return Position(script.first_line + line, offset - (before.rfind("\n") + 1))
