# SPDX-License-Identifier: Apache-2.0
"""Modes of `--chmod`: an octal number, or changes as in chmod(1), such as `u=rwX,go=rX`.

A symbolic mode is the list of steps that each clause stands for, applied one after the other to the
mode a file had. `X` asks for the execute bits of the mode before all steps, and there is no umask:
a clause that names nobody means everybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from wherry.errors import UsageError

_SETUID, _SETGID, _STICKY = 0o4000, 0o2000, 0o1000
_EXECUTE: Final = 0o111
_EVERYBODY: Final = _SETUID | _SETGID | 0o777
_WHO: Final = {"u": _SETUID | 0o700, "g": _SETGID | 0o070, "o": 0o007, "a": _EVERYBODY}
_SHIFT: Final = {"u": 6, "g": 3, "o": 0}
_BITS: Final = {"r": 0o444, "w": 0o222, "x": _EXECUTE}
_MOST: Final = 0o7777
# Longer ones are no number of the kind, whatever their digits.
_MOST_DIGITS: Final = 11


class _Step(NamedTuple):
    """Set or clear `bits`; or, with `source`, do it with a copy of that class's three bits."""

    action: Literal["set", "clear", "set-if-executable", "copy"]
    bits: int
    source: str = ""
    operator: str = "="


@dataclass(frozen=True, slots=True)
class Mode:
    """A parsed mode; `octal` is None for a symbolic one."""

    octal: int | None
    steps: tuple[_Step, ...] = ()

    def apply(self, old: int, is_directory: bool) -> int:
        """The mode of a file that had `old` (permission, set-id and sticky bits)."""
        if self.octal is not None:
            return self.octal
        mode = old
        for step in self.steps:
            match step.action:
                case "set":
                    mode |= step.bits
                case "clear":
                    mode &= ~step.bits
                case "set-if-executable":
                    mode |= step.bits if is_directory or old & _EXECUTE else 0
                case "copy":
                    mode = _copied(mode, step)
        return mode

    @property
    def of_parents(self) -> int:
        """The mode of directories that are made on the way to a destination.

        BuildKit gives them the permission bits of an octal mode, and 0755 with a symbolic one.
        """
        return 0o755 if self.octal is None else self.octal & 0o777


def parse_mode(text: str) -> Mode:
    """Read `--chmod`'s value. Raises `UsageError`."""
    if text[:1].isdigit():
        digits = text.isascii() and text.isdigit() and len(text.lstrip("0")) <= _MOST_DIGITS
        if not digits or set(text) & {"8", "9"} or int(text, 8) > _MOST:
            raise UsageError(
                f"--chmod={text} is no mode",
                why="an octal mode lies between 0 and 07777",
            )
        return Mode(int(text, 8))
    return Mode(None, _SymbolicParser(text).parse())


class _SymbolicParser:
    """Clauses `[ugoa...][+-=][rwxXst or ugo...]...`, separated by commas."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._rest = text
        self._steps: list[_Step] = []
        self._is_cleared = False

    def parse(self) -> tuple[_Step, ...]:
        self._clause()
        while self._rest:
            # A list of actions ends at a comma; `_clause` stops nowhere else.
            self._rest = self._rest[1:]
            self._clause()
        return tuple(self._steps)

    def _clause(self) -> None:
        who = 0
        while self._rest[:1] in _WHO:
            who |= _WHO[self._take()]
        self._action(who)
        while self._rest and self._rest[0] != ",":
            self._action(who)

    def _action(self, who: int) -> None:
        operator = self._take()
        if not operator or operator not in "+-=":
            raise UsageError(
                f"--chmod={self._text} is no mode",
                why="it is neither octal, such as 0755, nor symbolic, such as u=rwX,go=rX",
            )
        if operator == "=":
            self._is_cleared = False
        who, bits, executable = self._permissions(operator, who)
        if bits or (operator == "=" and not self._is_cleared):
            self._is_cleared |= operator == "="
            self._change(operator, who, bits)
        self._change_executable(who, executable)

    def _permissions(self, operator: str, who: int) -> tuple[int, int, int]:
        """Reads the letters; class letters become steps at once, in their place."""
        bits = executable = 0
        while letter := self._rest[:1]:
            # Set-id and sticky bits are nothing that "others" alone could have.
            is_only_others = who != 0 and who & ~0o007 == 0
            if letter in _BITS:
                bits |= _BITS[letter]
            elif letter == "X" and operator == "-":
                bits |= _EXECUTE
            elif letter == "X":
                executable = _EXECUTE
            elif letter == "s":
                bits |= 0 if is_only_others else _SETUID | _SETGID
            elif letter == "t":
                who, bits = (who, bits) if is_only_others else (who | _STICKY, bits | _STICKY)
            elif letter in _SHIFT:
                if bits:
                    self._change(operator, who, bits)
                self._is_cleared |= operator == "="
                self._change_executable(who, executable)
                self._steps.append(_Step("copy", who, letter, operator))
                bits = executable = 0
            else:
                break
            self._take()
        return who, bits, executable

    def _change(self, operator: str, who: int, bits: int) -> None:
        if operator == "=":
            self._steps.append(_Step("clear", who or _EVERYBODY))
        bits = bits & who if who else bits
        self._steps.append(_Step("clear" if operator == "-" else "set", bits))

    def _change_executable(self, who: int, bits: int) -> None:
        if bits:
            self._steps.append(_Step("set-if-executable", bits & who if who else bits))

    def _take(self) -> str:
        letter, self._rest = self._rest[:1], self._rest[1:]
        return letter


def _copied(mode: int, step: _Step) -> int:
    """`u=g` and the like: the three bits of one class put into the others that are meant."""
    value = mode >> _SHIFT[step.source] & 0o7
    for shift in _SHIFT.values():
        # A class is meant if its bit for reading is.
        if step.bits and not step.bits & 0o4 << shift:
            continue
        if step.operator == "=":
            mode &= ~(0o7 << shift)
        if step.operator == "-":
            mode &= ~(value << shift)
        else:
            mode |= value << shift
    return mode
