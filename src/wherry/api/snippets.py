# SPDX-License-Identifier: Apache-2.0
"""Problems of a Dockerfile as errors: file and line, the lines themselves, what to do."""

from __future__ import annotations

import re
from typing import Final

from wherry.errors import SeveralErrors, UsageError, WherryError
from wherry.frontends.dockerfile.source import Problem, Range
from wherry.graph.build import Lines

# Long instructions are told by their first lines.
_LINES: Final = 6
_USER_OF_URL: Final = re.compile(r"(?<=://)[^\s/\"']*@")
_QUERY_OF_URL: Final = re.compile(r"(https?://[^\s?\"']*)\?[^\s#\"']+", re.IGNORECASE)
_WIDTH: Final = 160


class Snippets:
    """Makes errors of one Dockerfile's problems; `name` is what the user calls the file."""

    def __init__(self, name: str, text: bytes) -> None:
        self._name = name
        decoded = text.decode("utf-8", "replace").removeprefix("\ufeff")
        self._lines = decoded.replace("\r\n", "\n").split("\n")

    def error(self, problems: tuple[Problem, ...]) -> WherryError:
        """One error for all of them, in the order of their lines."""
        ordered = sorted(problems, key=lambda problem: problem.range)
        errors = tuple(
            UsageError(problem.message, why=self._marked(problem.range), hint=problem.hint,
                       where=self.place(problem.range.start.line))
            for problem in ordered
        )  # fmt: skip
        return errors[0] if len(errors) == 1 else SeveralErrors(errors)

    def placed(self, error: WherryError, where: Lines) -> WherryError:
        """An error from elsewhere, told with the instruction that led to it."""
        if not error.where and where.first:
            error.where = self.place(where.first)
            lines = "\n".join(self._numbered(where))
            error.why = f"{lines}\n{error.why}" if error.why else lines
        return error

    def quoted(self, error: WherryError) -> WherryError:
        """An error that says where it belongs to, with that line."""
        name, _, line = error.where.rpartition(":")
        if name == self._name and line.isdecimal():
            number = int(line)
            quoted = "\n".join(self._numbered(Lines(number, number)))
            if quoted not in error.why:
                error.why = f"{quoted}\n{error.why}" if error.why else quoted
        return error

    def place(self, line: int) -> str:
        """`FILE:LINE`."""
        return f"{self._name}:{line}"

    def _marked(self, where: Range) -> str:
        """The lines of the range; a caret marks a place inside one line."""
        (start, end), (first, last) = where, where.lines
        told = self._numbered(Lines(first, last))
        line = self._line(first)
        # Where something is left out of it, the columns are others.
        if first == last and 0 < start.column < len(line) and "****" not in line:
            length = max(1, min(end.column, len(line)) - start.column)
            told.append(f"{'':>{len(str(first))}} | {'':>{start.column}}{'^' * length}")
        return "\n".join(told)

    def _numbered(self, where: Lines) -> list[str]:
        shown = range(where.first, min(where.last, where.first + _LINES - 1) + 1)
        width = len(str(shown[-1]))
        told = [f"{number:>{width}} | {self._line(number)}".rstrip() for number in shown]
        if where.last > shown[-1]:
            told.append(f"{'':>{width}} | ...")
        return told

    def _line(self, number: int) -> str:
        text = self._lines[number - 1] if 0 < number <= len(self._lines) else ""
        # Control characters would reach the terminal, credentials and signed queries a log.
        shown = "".join(char if char.isprintable() else " " for char in text)
        shown = _QUERY_OF_URL.sub(r"\1?****", _USER_OF_URL.sub("****@", shown))
        return shown if len(shown) <= _WIDTH else f"{shown[: _WIDTH - 3]}..."
