# SPDX-License-Identifier: Apache-2.0
"""Run one Go command, and sort what it says.

Go writes three sorts of lines to stderr: what it fetches (`go: downloading ...`), with `-v` the
import path of each package that it compiles, and its messages. The first two are progress; only
the third belongs into an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import NamedTuple

from wherry.golang.credentials import mask_credentials
from wherry.golang.toolchain import GoCommand
from wherry.process.cancel import CancelToken
from wherry.process.spawn import Command, Finished, run

OnLine = Callable[[str], None]

_FETCH = re.compile(r"go: (?:downloading|extracting|finding) |go: .*; switching to go\d")
# The characters that Go allows in an import path; every message of Go's has others.
_IMPORT_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._~+\-]*(?:/[A-Za-z0-9._~+\-]+)*\Z")


class GoTool(NamedTuple):
    """The go command, ready to run: which one, in which directory, with which environment.

    `directory` is absolute; `env` is the whole environment (`build_environment`).
    """

    go: GoCommand
    directory: str
    env: Mapping[str, str]

    def command(self, args: tuple[str, ...], keep_fds: tuple[int, ...] = ()) -> Command:
        """The process to start for `go ARGS`."""
        return Command((self.go.path, *args), self.directory, self.env, keep_fds)


class LineKind(Enum):
    """What a line of Go's stderr is."""

    FETCH = "fetch"
    PACKAGE = "package"
    MESSAGE = "message"


def sort_line(line: str) -> LineKind:
    """Tell progress from messages; only `go build -v` writes lines of the kind PACKAGE."""
    if _FETCH.match(line):
        return LineKind.FETCH
    return LineKind.PACKAGE if _IMPORT_PATH.match(line) else LineKind.MESSAGE


def run_go(command: Command, cancel: CancelToken, on_line: OnLine | None = None) -> Finished:
    """Run a Go command; `on_line` sees the lines that tell what Go fetches, credentials masked.

    The exit status is the caller's to judge. Raises what `wherry.process.run` raises.
    """

    def show(line: str) -> None:
        if on_line is not None and sort_line(line) is LineKind.FETCH:
            on_line(mask_credentials(line))

    return run(command, cancel, show)


def messages(stderr: bytes, *, verbose: bool = False) -> str:
    """Go's own messages, unmangled, without progress; `verbose` where `-v` was given."""
    progress = (LineKind.FETCH, LineKind.PACKAGE) if verbose else (LineKind.FETCH,)
    lines = stderr.decode("utf-8", "replace").splitlines()
    return "\n".join(line for line in lines if sort_line(line) not in progress).strip("\n")
