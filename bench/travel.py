# SPDX-License-Identifier: Apache-2.0
"""The rows of caches that travel: builds on machines that have nothing but Go and the tools.

First each side builds and pushes the module once, with an empty registry cache. That state of the
registry is put back before every measurement: each round is the next commit after the same first
one, on a new machine, and all sides build the same commits in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from bench import growth, links, travel_contents
from bench.changes import BUMPED, State, States
from bench.failure import BenchError
from bench.measure import Row
from bench.running import say
from bench.travel_contents import Contents
from bench.travel_ground import PROJECT, Expected, Measured, Place, Ports, Tools, place
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

Samples = dict[str, list[Measured]]
_Change = Callable[[], State]


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
    differences: list[str] = field(default_factory=list)

    @property
    def wherry(self) -> TravelWherry | None:
        """The side that has targets, while it takes part."""
        return next((side for side in self.sides if isinstance(side, TravelWherry)), None)

    def measure(self, wanted: Sequence[str]) -> list[Row]:
        """The wanted rows; one that cannot be measured is told and left out."""
        self.states.fetch()
        with self._at(links.Straight()) as near:
            self.prepare(near)
            rows = [self._first(near)] if set(wanted) - set(growth.ROWS) else []
            rows += self._timed_rows(near, wanted)
            if self.wherry is not None:
                measured = Contents(near, self.states, self.wherry, self._check)
                rows += measured.measure(wanted)
                near.clear()
                rows += growth.measure(near, self.states, self.wherry, wanted)
        if set(_FAR) & set(wanted):
            with links.distant() as link, self._at(link) as far:
                rows += self._far_rows(far, wanted)
        if self.wherry is not None:
            note = "; ".join(self.differences)
            different = sum(text.startswith(WHERRY) for text in self.differences)
            rows.append(Row(PROJECT, DIFFERENT, "images", {WHERRY: (different,)}, note))
        return [row for row in rows if row.name in wanted]

    def _at(self, link: links.Link) -> AbstractContextManager[Place]:
        return place(self.directory, link, self.tools, self.ports)

    # --- times ----------------------------------------------------------------------------------

    def _first(self, near: Place) -> Row:
        """The first builds, which leave the caches and images that all rows begin with."""
        state = self.states.seed()
        expected = near.expected(state, self.wherry)
        samples: Samples = {}
        for side in tuple(self.sides):
            near.registry.reset()
            try:
                measured = near.build(side, near.job(state, near.machine()))
            except BenchError as error:
                say(f"bench: goes on without {side.name}: {error}")
                self.sides.remove(side)
                continue
            self._check(near, FIRST, side, measured, expected)
            near.registry.keep()
            samples[side.name] = [measured]
            say(f"{FIRST}: {side.name} {measured.seconds:.3f} s, {measured.traffic}")
        near.clear()
        return _seconds(FIRST, samples)

    def _timed_rows(self, near: Place, wanted: Sequence[str]) -> list[Row]:
        rows: list[Row] = []
        bump = self.states.bumped(BUMPED)
        if LINE in wanted:
            rows += self._timed(near, LINE, self.states.one_line, self.rounds)
        if READ_ONLY in wanted:
            rows += self._timed(near, READ_ONLY, self.states.one_line, 1, writes=False)
        if {UNCHANGED, RECEIVED, STARTS} & set(wanted):
            rows += self._timed(near, UNCHANGED, self.states.seed, self.rounds)
        if BUMP in wanted:
            rows += self._timed(near, BUMP, lambda: bump, self.rounds)
        return rows

    def _far_rows(self, far: Place, wanted: Sequence[str]) -> list[Row]:
        bump = self.states.bumped(BUMPED) if FAR_BUMP in wanted else None
        changes: dict[str, _Change] = {
            FAR_LINE: self.states.one_line,
            FAR_UNCHANGED: self.states.seed,
            FAR_BUMP: lambda: bump or self.states.seed(),
        }
        rows: list[Row] = []
        for name in _FAR:
            if name in wanted:
                rows += self._timed(far, name, changes[name], 1)
        return rows

    def _timed(
        self, where: Place, name: str, change: _Change, rounds: int, *, writes: bool = True
    ) -> list[Row]:
        """The sides in turn, each on a new machine and with the registry as it was kept."""
        sides = [side for side in self.sides if writes or side.name != KO]
        samples: Samples = {side.name: [] for side in sides}
        try:
            for _ in range(rounds):
                where.make_room()
                state = change()
                expected = where.expected(state, self.wherry)
                for side in sides:
                    where.registry.reset()
                    job = where.job(state, where.machine(), writes=writes)
                    measured = where.build(side, job)
                    samples[side.name].append(measured)
                    self._check(where, name, side, measured, expected)
                latest = (f"{side} {values[-1].seconds:.3f} s" for side, values in samples.items())
                say(f"{name}: {', '.join(latest)}")
        except BenchError as error:
            say(f"bench: goes on without the row {name}: {error}")
            return []
        finally:
            where.clear()
        note = _moved(samples)
        if where.link.name != links.Straight().name:
            note = f"{where.link.name}; {note}"
        rows = [_seconds(name, samples, note)]
        return rows + (_unchanged_rows(samples) if name == UNCHANGED else [])

    def _check(
        self, where: Place, name: str, side: TravelSide, measured: Measured, expected: Expected
    ) -> None:
        difference = where.difference(side, measured, expected)
        if difference:
            say(f"{name}: {difference}")
            self.differences.append(f"{difference} ({name})")


def _seconds(name: str, samples: Samples, note: str = "") -> Row:
    times = {side: tuple(one.seconds for one in values) for side, values in samples.items()}
    return Row(PROJECT, name, "s", times, note)


def _moved(samples: Samples) -> str:
    """What the last round moved, and what wherry said of it."""
    texts = []
    for side, values in samples.items():
        received, sent = (size / 1e6 for size in values[-1].traffic[1:3])
        texts.append(f"{side}: {received:.1f} MB from the registry, {sent:.1f} MB to it")
        if side == WHERRY:
            texts.append(f"it says: {values[-1].last_words}")
    return "; ".join(texts)


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
