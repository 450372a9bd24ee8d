# SPDX-License-Identifier: Apache-2.0
"""The rows of Dockerfiles whose steps compile Go, beside BuildKit; see docs/benchmarks.md.

All servers are on loopback, as for caches that travel. Each program has a registry of its own, so
that no side finds what another program left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bench import cache_registry, go_programs, go_steps_fresh, go_steps_overhead, links, servers
from bench.bases import Bases
from bench.failure import BenchError
from bench.go_programs import Program
from bench.go_steps_fresh import Fresh
from bench.go_steps_overhead import OVERHEAD, Overhead
from bench.go_steps_warm import Warm
from bench.measure import Row
from bench.running import say
from bench.sides import Wherry
from bench.travel_ground import Place, Ports, Tools, place

WARM = "textbook warm"
SINGLE = "single stage"
DIFFERENT = "differing builds"
_WARM = (WARM, SINGLE)
_OF_PROGRAMS = (*_WARM, *go_steps_fresh.NEAR, *go_steps_fresh.FAR, DIFFERENT)
ROWS = (OVERHEAD, *_OF_PROGRAMS)

TITLES = {
    go_steps_overhead.PROJECT: go_steps_overhead.TITLE,
    **{go_programs.kind(name): go_programs.title(name) for name in go_programs.NAMES},
}

_OVERHEAD_ROUNDS = 4  # for each round of the others: a build takes seconds, its bar is narrow


@dataclass(frozen=True)
class GoSteps:
    """What all rows stand on; `buildkit` has the daemon's programs, or is None without.

    `rounds` are of the quick row, `cold_rounds` of those in which BuildKit compiles everything.
    """

    wherry: Wherry
    buildkit: Path | None
    tools: Tools
    bases: Bases
    crane: Path
    directory: Path
    rounds: int
    cold_rounds: int

    def measure(self, programs: Sequence[str], wanted: Sequence[str]) -> list[Row]:
        """The wanted rows of the programs; what cannot be measured is told and left out."""
        rows = self._overhead_rows() if OVERHEAD in wanted else []
        for name in programs if set(_OF_PROGRAMS) & set(wanted) else ():
            try:
                with cache_registry.holding(self.directory / name) as directory:
                    env = self.tools.runner.env
                    made = go_programs.program(name, self.tools.go, directory, env)
                    rows += _OneProgram(self, made, directory, wanted).rows()
            except BenchError as error:
                say(f"bench: goes on without {name} by Dockerfiles: {error}")
        return [row for row in rows if row.name in wanted]

    def _overhead_rows(self) -> list[Row]:
        env = self.tools.runner.env
        self.directory.mkdir(parents=True, exist_ok=True)
        with servers.memory_registry(self.crane, self.directory, env) as host:
            self.bases.push_busybox(self.crane, host)
            directory, rounds = self.directory / "overhead", _OVERHEAD_ROUNDS * self.rounds
            made = Overhead(self.wherry, self.tools.runner, host, directory, rounds)
            return go_steps_overhead.measured(made)


@dataclass(frozen=True)
class _OneProgram:
    """One program with its servers, which are met at the same ports over all links."""

    steps: GoSteps
    program: Program
    directory: Path
    wanted: Sequence[str]
    ports: Ports = field(default_factory=Ports.free)
    differences: list[str] = field(default_factory=list)

    def rows(self) -> list[Row]:
        """All of them, in the order of their clocks: what is quick comes first."""
        with self._at(links.Straight()) as near:
            self._push_bases(near)
            rows = self.fresh.near_rows(near, self.wanted)
            rows += self._warm_rows(near)
        if set(go_steps_fresh.FAR) & set(self.wanted) and self.fresh.turns.wherry is not None:
            with links.distant() as link, self._at(link) as far:
                rows += self.fresh.far_rows(far, self.wanted)
        self.fresh.turns.differences += self.differences
        return [*rows, self.fresh.turns.different_row(DIFFERENT)]

    @cached_property
    def fresh(self) -> Fresh:
        """The rows on fresh machines, which remember what the first builds gave."""
        steps = self.steps
        return Fresh(
            self.program, steps.wherry.program, steps.buildkit, f"127.0.0.1:{self.ports.registry}",
            self.directory / "dockerfiles", steps.cold_rounds,
        )  # fmt: skip

    def _at(self, link: links.Link) -> AbstractContextManager[Place]:
        directory = self.directory / "servers"
        directory.mkdir(exist_ok=True)
        return place(directory, link, self.steps.tools, self.ports)

    def _push_bases(self, near: Place) -> None:
        steps = self.steps
        steps.bases.push_golang(steps.crane, near.registry.host, steps.tools.go, near.proxy)
        near.registry.keep()

    def _warm_rows(self, near: Place) -> list[Row]:
        steps = self.steps
        warm = Warm(
            self.program, near, steps.wherry, steps.buildkit is not None,
            self.directory / "warm", steps.cold_rounds, self.differences,
        )  # fmt: skip
        makers: dict[str, Callable[[], Row]] = {
            WARM: lambda: warm.row(
                WARM, self.program.textbook(near.registry.host), is_repeatable=True
            ),
            SINGLE: lambda: warm.row(
                SINGLE, self.program.single(near.registry.host), is_repeatable=False
            ),
        }
        rows = []
        for name, make in makers.items():
            try:
                rows += [make()] if name in self.wanted else []
            except BenchError as error:
                say(f"bench: goes on without the row {name}: {error}")
        return rows
