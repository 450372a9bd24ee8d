# SPDX-License-Identifier: Apache-2.0
"""What a variable is set to for a go command, and where: assignments, exports, ENV and ARG."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from wherry.frontends.dockerfile.instructions import Arg, Env, Run
from wherry.frontends.dockerfile.source import Range

if TYPE_CHECKING:
    from wherry.advice.reading.go_commands import GoCommand
    from wherry.advice.views import Line


class Setting(NamedTuple):
    """What a variable is set to for a go command: the text as written, where, by which line."""

    raw: str
    place: Range
    line: Line


def setting_of(command: GoCommand, name: str) -> Setting | None:
    """Where a variable of a go command is set; None where nothing does, or only an ARG."""
    line = command.line
    if isinstance(line.instruction, Run) and not line.instruction.command.shell:
        return _env_setting(line, name)
    own = command.command
    before = (
        other for other in reversed(line.commands)
        if not other.words and other.start < own.start and other.shell in (own.shell, 0)
    )  # fmt: skip
    for other in (own, *before):
        for key, word in reversed(other.assignments):
            if key == name:
                return Setting(word.value, line.place(word.start, word.end), line)
    return _env_setting(line, name)


def _env_setting(line: Line, name: str) -> Setting | None:
    lines = line.stage.all_lines
    at = next(at for at, other in enumerate(lines) if other is line)
    for earlier in reversed(lines[:at]):
        if not isinstance(earlier.instruction, Env):
            continue
        for key, value in reversed(earlier.instruction.variables):
            if key == name:
                return Setting(value.strip("'\""), _value_range(earlier, key, value), earlier)
    return None


def _value_range(line: Line, name: str, value: str) -> Range:
    logical = line.subject.text.logical(line.range)
    if logical is None:
        return line.head
    found = re.search(rf"\b{name}[= ]\s*({re.escape(value)})", logical.text)
    return logical.range(found.start(1), found.end(1)) if found else line.head


def default_of(line: Line, name: str) -> tuple[Line, str] | None:
    """The last ARG of a stage before a line that gives a name a default, with that default.

    It beats what BuildKit has for the name, as for TARGETARCH.
    """
    for earlier in reversed(line.stage.all_lines):
        typed = earlier.instruction
        if earlier.range.start > line.range.start or not isinstance(typed, Arg):
            continue
        for given, value in typed.arguments:
            if given == name:
                return (earlier, value) if value else None
    return None
