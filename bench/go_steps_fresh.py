# SPDX-License-Identifier: Apache-2.0
"""The rows of Go steps on machines that have nothing: layers and Go caches come from a registry.

Both sides build the same textbook Dockerfile, push its image and read and write their caches, as a
CI job does: BuildKit with `mode=max`, wherry with `--cache-from` and `--cache-to`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.changes import State
from bench.go_programs import Program
from bench.go_steps_warm import WITHOUT_CACHES
from bench.measure import Row
from bench.rounds import Rounds
from bench.running import say
from bench.travel_ground import Expected, Place
from bench.travel_sides import TravelBuildKit, TravelSide, TravelWherry

FIRST = "textbook first"
LINE = "textbook fresh"
UNCHANGED = "textbook unchanged"
FAR_LINE = "far textbook"
FAR_UNCHANGED = "far textbook same"
NEAR = (FIRST, LINE, UNCHANGED)
FAR = (FAR_LINE, FAR_UNCHANGED)


@dataclass
class Fresh:
    """One program; `buildkit` has the daemon's programs, or is None where there are none."""

    program: Program
    wherry: tuple[str, ...]
    buildkit: Path | None
    host: str
    dockerfiles: Path
    rounds: int
    turns: Rounds = field(init=False)
    _seed_digest: str = ""
    _is_due: bool = False

    def __post_init__(self) -> None:
        self.program.write_textbook(self.dockerfiles, self.host)
        sides: list[TravelSide] = []
        if self.buildkit is not None:
            sides.append(TravelBuildKit(self.buildkit, self.host, self.dockerfiles))
        sides.append(TravelWherry(self.wherry, self.host, dockerfiles=self.dockerfiles))
        self.turns = Rounds(self.program.kind, sides, self._expect)

    def near_rows(self, near: Place, wanted: Sequence[str]) -> list[Row]:
        """The first builds, and what is wanted on loopback."""
        if not {*NEAR, *FAR} & set(wanted):
            return []
        rows = [self.turns.first(FIRST, near, self.program.seed())]
        if self.turns.wherry is None:
            say("bench: goes on without the rows of Dockerfiles on fresh machines")
            return []
        if UNCHANGED in wanted:
            near.settle()
            rows += self._row(near, UNCHANGED, self.rounds)
        if LINE in wanted:
            rows += self._row(near, LINE, self.rounds)
        return rows

    def far_rows(self, far: Place, wanted: Sequence[str]) -> list[Row]:
        """What is wanted over a link; the registry has what the first builds left."""
        if self.turns.wherry is None:
            return []
        return [row for name in FAR if name in wanted for row in self._row(far, name, 1)]

    def _row(self, where: Place, name: str, rounds: int) -> list[Row]:
        is_changed = name in (LINE, FAR_LINE)
        self._is_due = True
        change = self.program.one_line if is_changed else self.program.seed
        return self.turns.timed(where, name, change, rounds)[0]

    def _expect(self, where: Place, state: State) -> Expected:
        """The binary of each state; wherry's image without any caches once in a row.

        That image takes as long as all of BuildKit's build.
        """
        job = where.job(state, where.usual_machine())
        is_seed = state == self.program.seed()
        wherry = self.turns.wherry
        if wherry is None or (self._seed_digest if is_seed else not self._is_due):
            return Expected(where.go_build(job), self._seed_digest if is_seed else "")
        plain = replace(wherry, words=WITHOUT_CACHES)
        expected = where.expected_of(job, plain)
        self._is_due = False
        if is_seed:
            self._seed_digest = expected.digest
        return expected
