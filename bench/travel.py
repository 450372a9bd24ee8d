# SPDX-License-Identifier: Apache-2.0
"""The rows of caches that travel: builds on machines that have nothing but Go and the tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from bench import growth, links, travel_contents
from bench.changes import BUMPED, State, States
from bench.measure import Row
from bench.rounds import Rounds, Samples
from bench.travel_contents import Contents
from bench.travel_ground import PROJECT, Expected, Place, Ports, Tools, place
from bench.travel_sides import KO, WHERRY, TravelSide, TravelWherry

FIRST = "first build"
LINE = "fresh line"
READ_ONLY = "fresh reader"
UNCHANGED = "fresh unchanged"
RECEIVED = "unchanged received"
STARTS = "unchanged starts"
BUMP = "fresh bump"
FAR_LINE = "far line"
FAR_UNCHANGED = "far unchanged"
FAR_BUMP = "far bump"
DIFFERENT = "differing images"
_NEAR = (FIRST, LINE, READ_ONLY, UNCHANGED, RECEIVED, STARTS, BUMP)
_FAR = (FAR_LINE, FAR_UNCHANGED, FAR_BUMP)
ROWS = (*_NEAR, *travel_contents.ROWS, *growth.ROWS, *_FAR, DIFFERENT)


@dataclass
class Travel:
    """One run; sides that cannot build the module at first are left out with a word."""

    sides: list[TravelSide]
    states: States
    tools: Tools
    rounds: int
    directory: Path
    ports: Ports
    prepare: Callable[[Place], None]
    _turns: Rounds = field(init=False)

    def __post_init__(self) -> None:
        self._turns = Rounds(PROJECT, self.sides, self._expect)

    @property
    def wherry(self) -> TravelWherry | None:
        """The side that has targets, while it takes part."""
        return self._turns.wherry

    def measure(self, wanted: Sequence[str]) -> list[Row]:
        """The wanted rows; one that cannot be measured is told and left out."""
        self.states.fetch()
        with self._at(links.Straight()) as near:
            self.prepare(near)
            rows: list[Row] = []
            if set(wanted) - set(growth.ROWS):
                rows.append(self._turns.first(FIRST, near, self.states.seed()))
            rows += self._timed_rows(near, wanted)
            if self.wherry is not None:
                measured = Contents(near, self.states, self.wherry, self._turns.check)
                rows += measured.measure(wanted)
                near.clear()
                rows += growth.measure(near, self.states, self.wherry, self._turns.check, wanted)
        if set(_FAR) & set(wanted):
            with links.distant() as link, self._at(link) as far:
                rows += self._far_rows(far, wanted)
        if self.wherry is not None:
            rows.append(self._turns.different_row(DIFFERENT))
        return [row for row in rows if row.name in wanted]

    def _at(self, link: links.Link) -> AbstractContextManager[Place]:
        return place(self.directory, link, self.tools, self.ports)

    def _expect(self, where: Place, state: State) -> Expected:
        return where.expected(state, self.wherry)

    # --- times ----------------------------------------------------------------------------------

    def _timed_rows(self, near: Place, wanted: Sequence[str]) -> list[Row]:
        rows: list[Row] = []
        timed, one_line = self._turns.timed, self.states.one_line
        bump = self.states.bumped(BUMPED)
        if LINE in wanted:
            rows += timed(near, LINE, one_line, self.rounds)[0]
        if READ_ONLY in wanted:
            rows += timed(near, READ_ONLY, one_line, 1, writes=False, without=(KO,))[0]
        if {UNCHANGED, RECEIVED, STARTS} & set(wanted):
            found, samples = timed(near, UNCHANGED, self.states.seed, self.rounds)
            rows += [*found, *_unchanged_rows(samples)]
        if BUMP in wanted:
            rows += timed(near, BUMP, lambda: bump, self.rounds)[0]
        return rows

    def _far_rows(self, far: Place, wanted: Sequence[str]) -> list[Row]:
        bump = self.states.bumped(BUMPED) if FAR_BUMP in wanted else None
        changes: dict[str, Callable[[], State]] = {
            FAR_LINE: self.states.one_line,
            FAR_UNCHANGED: self.states.seed,
            FAR_BUMP: lambda: bump or self.states.seed(),
        }
        rows: list[Row] = []
        for name in _FAR:
            if name in wanted:
                rows += self._turns.timed(far, name, changes[name], 1)[0]
        return rows


def _unchanged_rows(samples: Samples) -> list[Row]:
    """What wherry asked for and started; BuildKit's Go runs in containers and is not counted."""
    if WHERRY not in samples:
        return []
    found = samples[WHERRY]
    received = tuple(float(one.traffic.received) for one in found)
    note = f"requests: {found[-1].traffic.requests}"
    rows = [Row(PROJECT, RECEIVED, "bytes", {WHERRY: received}, note)]
    if all("go" in one.starts for one in found):
        starts = tuple(float(one.starts["go"]) for one in found)
        rows.append(Row(PROJECT, STARTS, "starts", {WHERRY: starts}))
    return rows
