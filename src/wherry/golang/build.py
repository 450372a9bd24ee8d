# SPDX-License-Identifier: Apache-2.0
"""Compile and link main packages: `go build`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from wherry.golang.command import GoTool, LineKind, OnLine, messages, sort_line
from wherry.golang.credentials import mask_credentials
from wherry.golang.diagnostics import Failure, explain_failure
from wherry.process.spawn import Command, run

if TYPE_CHECKING:
    from wherry.golang.toolchain import GoCommand
    from wherry.process.cancel import CancelToken


class BuildCall(NamedTuple):
    """One `go build`: `packages` in `directory`, written to the absolute path `output`.

    For several packages `output` is a directory, which gets a program of each. `flags` are Go's
    (`wherry.golang.flags`), `env` is the whole environment; `keep_fds` stay open in every process
    that Go starts.
    """

    directory: str
    packages: tuple[str, ...]
    output: str
    flags: tuple[str, ...]
    env: Mapping[str, str]
    keep_fds: tuple[int, ...] = ()

    def command(self, go: GoCommand) -> Command:
        """The process to start."""
        args = ("build", "-v", "-o", self.output, *self.flags, "--", *self.packages)
        return GoTool(go, self.directory, self.env).command(args, self.keep_fds)


def build_binary(
    go: GoCommand,
    call: BuildCall,
    cancel: CancelToken,
    on_package: Callable[[str], None],
    on_line: OnLine,
) -> None:
    """Build; `on_package` hears each import path that Go compiles, `on_line` what Go fetches.

    Both are called in a thread of their own. A file at `output` that would not change is not
    linked again; Go only renews its time. Raises what `explain_failure` makes of Go's messages.
    """

    def listen(line: str) -> None:
        match sort_line(line):
            case LineKind.PACKAGE:
                on_package(line)
            case LineKind.FETCH:
                on_line(mask_credentials(line))
            case LineKind.MESSAGE:
                pass

    finished = run(call.command(go), cancel, listen)
    if finished.returncode != 0:
        text = messages(finished.stderr, verbose=True)
        raise explain_failure(Failure(text, finished.returncode, " ".join(call.packages)))
