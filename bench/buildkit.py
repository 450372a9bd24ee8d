# SPDX-License-Identifier: Apache-2.0
"""BuildKit, for comparison: the daemon and client that the tests build, with files of its own.

The daemon is warm in every row. Its time is that of `buildctl`, a new process each time. The image
is made as `type=image`: layers packed and kept by the daemon, which is the least that leaves an
image behind, as wherry leaves one in its store; `type=oci` would move it to a file as well.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bench.contexts import Context
from bench.failure import BenchError
from bench.sides import Command

if TYPE_CHECKING:
    from tests.buildkit import BuildKit


class BuildKitSide:
    """buildctl with its running daemon; a context manager, which ends the daemon."""

    name = "BuildKit"

    def __init__(self, programs: Path, work: Path, env: Mapping[str, str]) -> None:
        self._programs = programs
        self._work = work
        self._env = env
        self._numbers = itertools.count()
        self._stack = ExitStack()
        self._daemon = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._stack.close()
        shutil.rmtree(self._work / "buildkit", ignore_errors=True)

    def build(self, context: Context) -> Command:
        """The command that leaves the context's image with the daemon."""
        return self._build(context, f"type=image,name=bench/{context.name}:1")

    def export(self, context: Context, target: Path) -> Command:
        """The command that writes the image to an OCI archive."""
        return self._build(context, f"type=oci,dest={target}")

    def forget(self) -> None:
        """Goes on with a new daemon that has nothing.

        What the old one kept stays on the disk: ext4 looks at each file that was removed in the
        last minutes whenever it makes one, which would be measured instead.
        """
        self._stack.close()
        self._daemon = self._start()

    def _start(self) -> BuildKit:
        from tests import buildkit

        state = self._work / "buildkit" / str(next(self._numbers))
        return self._stack.enter_context(buildkit.running(self._programs, state))

    def _build(self, context: Context, output: str) -> Command:
        place = str(context.directory)
        inputs = ("--local", f"context={place}", "--local", f"dockerfile={place}")
        words = ("build", "--progress", "plain", "--frontend", "dockerfile.v0", *inputs)
        pairs = (("--opt", f"build-arg:{name}={value}") for name, value in context.arguments)
        arguments = itertools.chain.from_iterable(pairs)
        client = (self._daemon.client, "--addr", self._daemon.address)
        return Command((*client, *words, *arguments, "--output", output), self._work)


@contextmanager
def running(go: str, work: Path, env: Mapping[str, str]) -> Iterator[BuildKitSide]:
    """A daemon for the time of the block; a BenchError where there can be none."""
    with _explained(), BuildKitSide(programs(go), work, env) as side:
        yield side


def programs(go: str) -> Path:
    """The directory with the daemon and its client; a BenchError where there can be none."""
    with _explained():
        from tests import buildkit

        from wherry.golang.toolchain import GoCommand

        reason = buildkit.why_not()
        if reason:
            raise BenchError(reason)
        return buildkit.install(GoCommand(go, go))


@contextmanager
def daemon(directory: Path, state: Path) -> Iterator[tuple[str, ...]]:
    """A new daemon with all its files below `state`; gives the words that begin a command."""
    with _explained():
        from tests import buildkit

        with buildkit.running(directory, state) as started:
            yield (started.client, "--addr", started.address)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        from tests.buildkit import NoBuildKit

        import wherry.golang.toolchain  # noqa: F401 - is it there at all
    except ImportError as error:
        raise BenchError(str(error)) from error
    try:
        yield
    except NoBuildKit as error:
        raise BenchError(str(error)) from error
