# SPDX-License-Identifier: Apache-2.0
"""What wherry's caches hold, send and give back: rows that no peer has.

All figures are taken from outside: from Go's build cache on the disk and from the registry.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import go_entries
from bench.changes import State, States
from bench.failure import BenchError
from bench.measure import Row
from bench.running import say
from bench.sides import Command
from bench.travel_ground import PROJECT, Expected, Measured, Place
from bench.travel_sides import CACHE_TAG, WHERRY, TravelSide, TravelWherry

SERVICE = "second service"
SENT = "line sent"
SENT_DEEP = "deep line sent"
RESTORE = "restore speed"
ROWS = (SERVICE, SENT, SENT_DEEP, RESTORE)

ENTRIES = "entries"

_RESTORES = 3

Check = Callable[[Place, str, TravelSide, Measured, Expected], None]


@dataclass(frozen=True)
class Contents:
    """The registry as the first builds left it; `check` compares images."""

    where: Place
    states: States
    wherry: TravelWherry
    check: Check

    def measure(self, wanted: Sequence[str]) -> list[Row]:
        """The wanted rows; one that cannot be measured is told and left out."""
        makers: dict[str, Callable[[], Row]] = {
            SERVICE: self._service_row,
            SENT: lambda: self._sent_row(SENT, self.states.one_line()),
            SENT_DEEP: lambda: self._sent_row(SENT_DEEP, self.states.deep_line()),
            RESTORE: self._restore_row,
        }
        rows = []
        for name, make in makers.items():
            if name not in wanted:
                continue
            try:
                rows.append(make())
            except BenchError as error:
                say(f"bench: goes on without the row {name}: {error}")
                continue
            say(f"{name}: { {side: values[-1] for side, values in rows[-1].samples.items()} }")
        return rows

    def _built(self, name: str, state: State) -> Measured:
        expected = self.where.expected(state, self.wherry)
        self.where.registry.reset()
        measured = self.where.build(self.wherry, self.where.job(state, self.where.machine()))
        self.check(self.where, name, self.wherry, measured, expected)
        return measured

    def _service_row(self) -> Row:
        """Which entries that `go build` uses for the program did not have to be made."""
        where, state = self.where, self.states.service()
        gocache = where.tools.gocache
        since = go_entries.age(gocache)
        where.go_build(where.job(state, where.usual_machine()))
        used = {key for key, one in go_entries.actions(gocache).items() if one.used > since}
        began = time.time_ns()
        measured = self._built(SERVICE, state)
        there = go_entries.actions(measured.job.machine.gocache)
        came = sum(1 for key in used if key in there and there[key].made < began)
        note = f"{came} of {len(used)} entries; {_effort(measured)}"
        return Row(PROJECT, SERVICE, "%", {WHERRY: (100 * came / len(used),)}, note)

    def _sent_row(self, name: str, state: State) -> Row:
        """Beside the entries of the packages that `go build` compiles again."""
        where = self.where
        before = go_entries.actions(where.tools.gocache)
        where.go_build(where.job(state, where.usual_machine()))
        after = go_entries.actions(where.tools.gocache)
        new = {key: one for key, one in after.items() if key not in before}
        measured = self._built(name, state)
        traffic = measured.traffic
        samples = {ENTRIES: (go_entries.weight(new),), WHERRY: (traffic.cached,)}
        note = (
            f"{len(new)} entries, not packed; {traffic.uploaded / 1e6:.1f} MB with the image; "
            f"{_effort(measured)}"
        )
        return Row(PROJECT, name, "bytes", samples, note)

    def _restore_row(self) -> Row:
        """All of `wherry cache run` on a new machine for a command that needs nothing."""
        found = [self._restored() for _ in range(_RESTORES)]
        size, seconds = found[-1]
        note = f"{size / 1e6:.0f} MB in {seconds:.2f} s, the start of all programs included"
        speeds = tuple(size / 1e6 / seconds for size, seconds in found)
        return Row(PROJECT, RESTORE, "MB/s", {WHERRY: speeds}, note)

    def _restored(self) -> tuple[int, float]:
        where, wherry = self.where, self.wherry
        where.registry.reset()
        job = where.job(self.states.seed(), where.machine())
        place = f"{wherry.registry}/{wherry.caches}:{CACHE_TAG}"
        argv = (*wherry.program, "cache", "run", "--cache-from", place, "--", "go", "version")
        told = where.tools.runner.told(Command(argv, job.tree, job.machine.env))
        return go_entries.size_of_files(job.machine.gocache), told.seconds


def _effort(measured: Measured) -> str:
    compiled = measured.starts.get("compile", 0)
    return f"{measured.seconds:.1f} s, the compiler started {compiled} times; {measured.last_words}"
