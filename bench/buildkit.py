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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contexts import Context
from bench.failure import BenchError, read_output
from bench.sides import Command

if TYPE_CHECKING:
    from tests.buildkit import BuildKit


@dataclass(frozen=True)
class BuildKitSide:
    """buildctl with its running daemon."""

    daemon: BuildKit
    work: Path
    env: Mapping[str, str]
    name: str = "BuildKit"

    def build(self, context: Context) -> Command:
        """The command that leaves the context's image with the daemon."""
        return self._build(context, f"type=image,name=bench/{context.name}:1")

    def export(self, context: Context, target: Path) -> Command:
        """The command that writes the image to an OCI archive."""
        return self._build(context, f"type=oci,dest={target}")

    def forget(self) -> None:
        """Drops all that the daemon keeps: results, contexts, packed layers and histories."""
        for words in (("prune-histories",), ("prune", "--all")):
            read_output((*self._client(), *words), self.work, self.env)

    def _build(self, context: Context, output: str) -> Command:
        place = str(context.directory)
        inputs = ("--local", f"context={place}", "--local", f"dockerfile={place}")
        words = ("build", "--progress", "plain", "--frontend", "dockerfile.v0", *inputs)
        pairs = (("--opt", f"build-arg:{name}={value}") for name, value in context.arguments)
        arguments = itertools.chain.from_iterable(pairs)
        return Command((*self._client(), *words, *arguments, "--output", output), self.work)

    def _client(self) -> tuple[str, ...]:
        return (self.daemon.client, "--addr", self.daemon.address)


@contextmanager
def running(go: str, work: Path, env: Mapping[str, str]) -> Iterator[BuildKitSide]:
    """A daemon for the time of the block; a BenchError where there can be none."""
    try:
        from tests import buildkit

        from wherry.golang.toolchain import GoCommand
    except ImportError as error:
        raise BenchError(str(error)) from error
    reason = buildkit.why_not()
    if reason:
        raise BenchError(reason)
    state = work / "buildkit"
    try:
        with buildkit.running(buildkit.install(GoCommand(go, go)), state) as daemon:
            yield BuildKitSide(daemon, work, env)
    except buildkit.NoBuildKit as error:
        raise BenchError(str(error)) from error
    finally:
        shutil.rmtree(state, ignore_errors=True)
