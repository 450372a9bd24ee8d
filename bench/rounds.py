# SPDX-License-Identifier: Apache-2.0
"""Sides that take turns on fresh machines, each with the registry as it was kept.

First each side builds and pushes once, with an empty registry cache. That state of the registry is
put back before every measurement: each round is the next commit after the same first one, on a new
machine, and all sides build the same commits in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench import links
from bench.changes import State
from bench.failure import BenchError
from bench.measure import Row
from bench.running import say
from bench.travel_ground import Expected, Measured, Place
from bench.travel_sides import WHERRY, TravelSide, TravelWherry

Samples = dict[str, list[Measured]]


@dataclass
class Rounds:
    """The sides; one that cannot build at first is left out with a word.

    `project` is what its rows belong to; `expect` builds what a state has to give.
    """

    project: str
    sides: list[TravelSide]
    expect: Callable[[Place, State], Expected]
    differences: list[str] = field(default_factory=list)

    @property
    def wherry(self) -> TravelWherry | None:
        """The side that has targets, while it takes part."""
        return next((side for side in self.sides if isinstance(side, TravelWherry)), None)

    def first(self, name: str, near: Place, state: State) -> Row:
        """The first builds, which leave the caches and images that all rounds begin with."""
        expected = self.expect(near, state)
        samples: Samples = {}
        for side in tuple(self.sides):
            near.registry.reset()
            try:
                measured = near.build(side, near.job(state, near.machine()))
            except BenchError as error:
                say(f"bench: goes on without {side.name}: {error}")
                self.sides.remove(side)
                continue
            self.check(near, name, side, measured, expected)
            near.registry.keep()
            samples[side.name] = [measured]
            say(f"{name}: {side.name} {measured.seconds:.3f} s, {measured.traffic}")
        near.clear()
        return self._row(name, samples)

    def timed(
        self,
        where: Place,
        name: str,
        change: Callable[[], State],
        rounds: int,
        *,
        writes: bool = True,
        without: Sequence[str] = (),
    ) -> tuple[list[Row], Samples]:
        """A row of times; no row, with a word, where a build fails."""
        sides = [side for side in self.sides if side.name not in without]
        samples: Samples = {side.name: [] for side in sides}
        try:
            for _ in range(rounds):
                where.make_room()
                state = change()
                expected = self.expect(where, state)
                for side in sides:
                    where.registry.reset()
                    job = where.job(state, where.machine(), writes=writes)
                    measured = where.build(side, job)
                    samples[side.name].append(measured)
                    self.check(where, name, side, measured, expected)
                latest = (f"{side} {values[-1].seconds:.3f} s" for side, values in samples.items())
                say(f"{name}: {', '.join(latest)}")
        except BenchError as error:
            say(f"bench: goes on without the row {name}: {error}")
            return [], {}
        finally:
            where.clear()
        note = _moved(samples)
        if where.link.name != links.Straight().name:
            note = f"{where.link.name}; {note}"
        return [self._row(name, samples, note)], samples

    def check(
        self, where: Place, name: str, side: TravelSide, measured: Measured, expected: Expected
    ) -> None:
        """Notes in what an image is not the expected one."""
        difference = where.difference(side, measured, expected)
        if difference:
            say(f"{name}: {difference}")
            self.differences.append(f"{difference} ({name})")

    def different_row(self, name: str) -> Row:
        """How many images of wherry's were not the expected ones; which, and those of others."""
        different = sum(text.startswith(WHERRY) for text in self.differences)
        note = "; ".join(self.differences)
        return Row(self.project, name, "images", {WHERRY: (different,)}, note)

    def _row(self, name: str, samples: Mapping[str, Sequence[Measured]], note: str = "") -> Row:
        times = {side: tuple(one.seconds for one in values) for side, values in samples.items()}
        return Row(self.project, name, "s", times, note)


def _moved(samples: Mapping[str, Sequence[Measured]]) -> str:
    """What the last round moved, and what wherry said of it."""
    texts = []
    for side, values in samples.items():
        received, sent = (size / 1e6 for size in values[-1].traffic[1:3])
        texts.append(f"{side}: {received:.1f} MB from the registry, {sent:.1f} MB to it")
        if side == WHERRY:
            texts.append(f"it says: {values[-1].last_words}")
    return "; ".join(texts)
