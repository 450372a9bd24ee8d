# SPDX-License-Identifier: Apache-2.0
"""What a solve would run and what it would take from earlier builds; no step of it runs.

Keys are looked up as in a solve. A step whose result is not there is noted, and what stands on it
is looked up by its definition alone: whether its content would be the same only a run can tell, and
so it *may* run. Bases and build contexts are read, since keys are made of what they hold; what
would have to be fetched for that is not, and leaves the step open, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from wherry.engines.local.results import Result
from wherry.errors import MachineError
from wherry.events import Event, Outcome, StepEnded
from wherry.graph.build import BuildGraph, Vertex
from wherry.graph.keys import CacheKey
from wherry.graph.ops import ComposedBase, GitOp, HttpOp, ImageOp, LocalOp, MergeOp
from wherry.oci.digest import Digest
from wherry.process.cancel import CancelToken
from wherry.solver.model import Cache, Operation, Step, Task
from wherry.solver.schedule import Solver

NO_CACHE: Final = "--no-cache"


class Fate(StrEnum):
    """What becomes of a step.

    `MAY_RUN` is for one that is reused if what runs or is fetched before it turns out to be what
    it was. `READ` are contexts and bases, which cost nothing, `FETCHED` what is downloaded.
    """

    RUNS = "runs"
    MAY_RUN = "may run"
    REUSED = "reused"
    READ = "is read"
    FETCHED = "is fetched"
    UNSEEN = "not needed"


class Unfetched(MachineError):
    """What a plan would need is not here; for those who are asked to fetch and do not."""

    def __init__(self, what: str) -> None:
        super().__init__(what, hint="build it: a plan downloads no layers")


class Planned(NamedTuple):
    """A vertex by its number, and what becomes of it, with the reason where it is not reused."""

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
    *,
    reuse: bool = True,
) -> tuple[Planned, ...]:
    """What would become of each vertex, in their order; without `reuse` nothing is looked up.

    Raises what reading bases and contexts raises, or `Cancelled`.
    """
    noted: dict[int, Planned] = {}

    def see(event: Event) -> None:
        if isinstance(event, StepEnded) and event.outcome is Outcome.CACHED:
            noted[int(event.id)] = Planned(int(event.id), Fate.REUSED)

    tasks: list[Task[Result | NotRun]] = [
        Task(
            _Dry(number, graph, operations[number], noted, reuse),
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
    graph: BuildGraph
    operation: Operation[Result]
    noted: dict[int, Planned]
    reuse: bool

    def definition(self, inputs: tuple[Digest, ...]) -> CacheKey | None:
        """As the operation's."""
        return self.operation.definition(inputs)

    def content(self, inputs: tuple[Result | NotRun, ...]) -> CacheKey | None:
        """As the operation's, where all of its inputs are there."""
        known = _known(inputs)
        if known is None:
            return None
        try:
            return self.operation.content(known)
        except Unfetched as error:
            if self.reuse:
                self.noted[self.number] = Planned(self.number, Fate.MAY_RUN, error.what)
            return None

    def run(self, inputs: tuple[Result | NotRun, ...], step: Step) -> Result | NotRun:
        """Note it, and read what is read."""
        known = _known(inputs)
        vertex = self.graph.vertices[self.number]
        if _is_read(vertex) and known is not None:
            self.noted[self.number] = Planned(self.number, Fate.READ)
            return self.operation.run(known, step)
        if isinstance(vertex.op, MergeOp) and known is not None:
            # There is no work in it: what stands on it can be looked up.
            self.noted[self.number] = Planned(self.number, Fate.REUSED)
            return self.operation.run(known, step)
        if self.number not in self.noted:
            self.noted[self.number] = Planned(self.number, *self._fate(vertex, inputs))
        return _NOT_RUN

    def _fate(self, vertex: Vertex, inputs: tuple[Result | NotRun, ...]) -> tuple[Fate, str]:
        """What becomes of a step that no record answers now, and why."""
        if isinstance(vertex.op, HttpOp | GitOp):
            return Fate.FETCHED, ""
        if not self.reuse:
            return Fate.RUNS, NO_CACHE
        if vertex.fresh:
            return Fate.RUNS, "asked for anew"
        open_ones = [self.graph.vertices[number]
                     for number, result in zip(vertex.inputs, inputs, strict=True)
                     if isinstance(result, NotRun)]  # fmt: skip
        if not open_ones:
            return Fate.RUNS, "no build that is kept had the same"
        first = next((one for one in open_ones if one.name != vertex.name), None)
        if isinstance(vertex.op, MergeOp):
            return Fate.RUNS, f"{(first or vertex).name} comes before it"
        if first is None:
            return Fate.MAY_RUN, "reused if what it fetches is what it was"
        return Fate.MAY_RUN, f"reused if {first.name} gives what it gave before"


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
    return isinstance(op, LocalOp)


def _known(inputs: tuple[Result | NotRun, ...]) -> tuple[Result, ...] | None:
    """The inputs, if all were made."""
    known = tuple(item for item in inputs if not isinstance(item, NotRun))
    return known if len(known) == len(inputs) else None
