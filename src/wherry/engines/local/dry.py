# SPDX-License-Identifier: Apache-2.0
"""What a solve would run and what it would take from earlier builds; no step of it runs.

Keys are looked up as in a solve. A step whose result is not there is noted, and what stands on it
is looked up by its definition alone: whether its content would be the same only a run can tell.
Bases and build contexts are read, since keys are made of what they hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from wherry.engines.local.results import Result
from wherry.events import Event, Outcome, StepEnded
from wherry.graph.build import BuildGraph, Vertex
from wherry.graph.keys import CacheKey
from wherry.graph.ops import ComposedBase, GitOp, HttpOp, ImageOp, LocalOp
from wherry.oci.digest import Digest
from wherry.process.cancel import CancelToken
from wherry.solver.model import Cache, Operation, Step, Task
from wherry.solver.schedule import Solver

# Made in no time, or without which nothing can be said.
_READ: Final = (LocalOp, HttpOp, GitOp)


class Fate(StrEnum):
    """What becomes of a step."""

    RUNS = "runs"
    REUSED = "reused"
    READ = "is read"
    UNSEEN = "not needed"


class Planned(NamedTuple):
    """A vertex by its number, and what becomes of it, with the reason where it runs."""

    vertex: int
    fate: Fate
    why: str = ""


@dataclass(frozen=True, slots=True)
class NotRun:
    """Stands for a result that nobody made."""


_NOT_RUN: Final = NotRun()


def dry_solve(
    graph: BuildGraph,
    operations: Sequence[Operation[Result]],
    cache: Cache[Result],
    cancel: CancelToken,
) -> tuple[Planned, ...]:
    """What would become of each vertex, in their order.

    Raises what reading bases and contexts raises, or `Cancelled`.
    """
    noted: dict[int, Planned] = {}

    def see(event: Event) -> None:
        if isinstance(event, StepEnded) and event.outcome is Outcome.CACHED:
            noted[int(event.id)] = Planned(int(event.id), Fate.REUSED)

    tasks: list[Task[Result | NotRun]] = [
        Task(
            _Dry(number, vertex, operations[number], noted),
            vertex.inputs,
            vertex.name,
            vertex.fresh,
        )
        for number, vertex in enumerate(graph.vertices)
    ]
    wanted = dict.fromkeys(
        layer.vertex for image in graph.images for layer in image.layers if layer.vertex is not None
    )
    # One job: what is noted needs no lock.
    Solver[Result | NotRun](_ReadOnly(cache), see, cancel, 1).solve(tasks, tuple(wanted))
    return tuple(
        noted.get(number, Planned(number, Fate.UNSEEN)) for number in range(len(graph.vertices))
    )


@dataclass(frozen=True, slots=True)
class _Dry:
    """An operation that is not run."""

    number: int
    vertex: Vertex
    operation: Operation[Result]
    noted: dict[int, Planned]

    def definition(self, inputs: tuple[Digest, ...]) -> CacheKey | None:
        """As the operation's."""
        return self.operation.definition(inputs)

    def content(self, inputs: tuple[Result | NotRun, ...]) -> CacheKey | None:
        """As the operation's, where all of its inputs are there."""
        known = _known(inputs)
        return self.operation.content(known) if known is not None else None

    def run(self, inputs: tuple[Result | NotRun, ...], step: Step) -> Result | NotRun:
        """Note it, and read what is read."""
        known = _known(inputs)
        if _is_read(self.vertex) and known is not None:
            self.noted[self.number] = Planned(self.number, Fate.READ)
            return self.operation.run(known, step)
        self.noted[self.number] = Planned(self.number, Fate.RUNS, self._why(known))
        return _NOT_RUN

    def _why(self, known: tuple[Result, ...] | None) -> str:
        if self.vertex.fresh:
            return "asked for anew"
        if known is None:
            return "a step before it runs"
        return "nothing that was built is the same"


@dataclass(frozen=True, slots=True)
class _ReadOnly:
    """The cache of a solve that makes nothing."""

    cache: Cache[Result]

    def lookup(self, key: CacheKey) -> Result | NotRun | None:
        """As the cache's."""
        return self.cache.lookup(key)

    def save(self, key: CacheKey, result: Result | NotRun) -> None:
        """Nothing is saved."""


def _is_read(vertex: Vertex) -> bool:
    op = vertex.op
    if isinstance(op, ImageOp):
        # A composed base is made; all others are looked up.
        return not isinstance(op.base, ComposedBase) or op.base is ComposedBase.SCRATCH
    return isinstance(op, _READ)


def _known(inputs: tuple[Result | NotRun, ...]) -> tuple[Result, ...] | None:
    """The inputs, if all were made."""
    known = tuple(item for item in inputs if not isinstance(item, NotRun))
    return known if len(known) == len(inputs) else None
