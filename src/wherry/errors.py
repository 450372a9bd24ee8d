# SPDX-License-Identifier: Apache-2.0
"""The exception tree of wherry.

Every error that a user can cause or mend is a `WherryError`: it says *what* failed, *where* (a
source range, or words inside `what`), *why*, and what to do next (`hint`). The class decides the
process's exit code; nothing below the command line prints or exits.

Exit codes: 1 the user's build failed, 2 wrong usage or a bad input file, 3 this machine lacks
something, 4 network or registry, 5 a fault in wherry itself, 130 and 143 interrupted.
"""

from __future__ import annotations

from typing import ClassVar


class WherryError(Exception):
    """A failure told in three parts.

    `what` is one line without a full stop. `why` may hold several lines: the words of the tool
    that failed are kept as they were. `hint` is an action, and may be empty only where no action
    helps. `where` names a place as `FILE:LINE`, and may be empty. `step` is the number of the
    build step that failed, None outside one.
    """

    exit_code: ClassVar[int] = 5

    def __init__(self, what: str, *, why: str = "", hint: str = "", where: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint
        self.where = where
        self.step: int | None = None

    @property
    def headline(self) -> str:
        """What failed, with its place in front where that is known."""
        return f"{self.where}: {self.what}" if self.where else self.what

    def __str__(self) -> str:
        parts = [self.headline]
        if self.why:
            parts.append(self.why)
        if self.hint:
            parts.append(f"hint: {self.hint}")
        return "\n".join(parts)


class BuildError(WherryError):
    """The user's own build failed: a compile error, a checksum mismatch, a dynamic binary."""

    exit_code = 1


class UsageError(WherryError):
    """Wrong command line or a bad input file."""

    exit_code = 2


class MachineError(WherryError):
    """This machine lacks something: a toolchain, a right, room on a disk."""

    exit_code = 3


class NetworkError(WherryError):
    """A proxy, registry or other server could not be reached or refused."""

    exit_code = 4


class InternalError(WherryError):
    """A fault in wherry itself."""

    exit_code = 5


class Interrupted(WherryError):
    """The user or the system asked wherry to stop; `signal` is 2 (SIGINT) or 15 (SIGTERM)."""

    def __init__(self, signal: int) -> None:
        super().__init__("interrupted")
        self.signal = signal

    @property
    def code(self) -> int:
        """The shell's convention: 128 and the signal's number."""
        return 128 + self.signal


class SeveralErrors(WherryError):
    """All the errors of one input, collected before anything was built."""

    def __init__(self, errors: tuple[WherryError, ...]) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = errors

    @property
    def code(self) -> int:
        """The gravest class wins, so that a script sees the same code whatever the order."""
        return max(code_of(error) for error in self.errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


def code_of(error: BaseException) -> int:
    """The process exit code for `error`; anything unknown is a fault of wherry's own, 5."""
    match error:
        case Interrupted() | SeveralErrors():
            return error.code
        case WherryError():
            return error.exit_code
        case KeyboardInterrupt():
            return 130
        case _:
            return 5


def near(word: str, choices: tuple[str, ...]) -> str:
    """`did you mean 'x'?` for a misspelt word, or the empty string where nothing is close."""
    import difflib  # noqa: PLC0415 - only needed once something is already wrong

    found = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"did you mean '{found[0]}'?" if found else ""


def shortened(text: str, most: int = 400) -> str:
    """`text` with at most `most` letters: files may hold values that no terminal has room for."""
    if len(text) <= most:
        return text
    end = most // 4
    return f"{text[: most - end - 1]}…{text[-end:]}"
