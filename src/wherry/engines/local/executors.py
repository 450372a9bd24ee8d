# SPDX-License-Identifier: Apache-2.0
"""Which executor does which op of a Dockerfile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from wherry.engines.local.executing import ExecOperation
from wherry.engines.local.files import FileOperation, FileSteps, MergeOperation, SourceOperation
from wherry.engines.local.results import Built, Held, Result
from wherry.engines.local.running import Running
from wherry.graph.build import Vertex
from wherry.graph.ops import ExecOp, FileOp, GitOp, HttpOp, LocalOp, MergeOp
from wherry.process.cancel import CancelToken
from wherry.solver.model import Operation, Step


class Sources(Protocol):
    """Where the files of a build's contexts, downloads and git trees come from."""

    def local(self, op: LocalOp) -> Held:
        """A build context."""

    def http(self, op: HttpOp, step: Step) -> Held:
        """A downloaded file; raises `NetworkError`, or `BuildError` for a wrong checksum."""

    def git(self, op: GitOp, step: Step) -> Held:
        """A checked-out tree; as `http`."""


@dataclass(frozen=True, slots=True)
class FileExecutors:
    """The executors of a Dockerfile's ops; `running` is what RUN steps share.

    With `ahead` bases are unpacked before a RUN asks for them: not where it may well not run.
    """

    shared: FileSteps
    sources: Sources
    running: Running
    ahead: bool = True

    def operation(self, vertex: Vertex) -> Operation[Result] | None:
        """The executor of the vertex's op, None for one of a Go module's."""
        op = vertex.op
        match op:
            case ExecOp():
                return ExecOperation(op, vertex.fresh, self.shared, self.running)
            case FileOp():
                return FileOperation(op, self.shared)
            case MergeOp():
                return MergeOperation(op)
            case LocalOp():
                return SourceOperation(lambda _step: self.sources.local(op))
            case HttpOp():
                return SourceOperation(lambda step: self.sources.http(op, step))
            case GitOp():
                return SourceOperation(lambda step: self.sources.git(op, step))
            case _:
                return None

    def settled(self, built: Built, cancel: CancelToken) -> Built:
        """A result as layers in the store: what a RUN changed becomes one."""
        if built.change is None:
            return built
        from wherry.engines.local.settling import settled  # noqa: PLC0415 - not without RUN

        return settled(self.shared, built, cancel)

    def require(self) -> None:
        """Raise `MachineError` where RUN certainly cannot run here."""
        self.running.require()

    def prepare(self, base: Built, step: Step) -> None:
        """Begin to unpack a base in which a RUN will run; does not wait."""
        if self.ahead:
            self.running.prepare(base.stack, self.shared.fetch, step)
