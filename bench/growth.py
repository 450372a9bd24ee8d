# SPDX-License-Identifier: Apache-2.0
"""How large wherry's cache becomes: many commits, bumps and a Go upgrade, built one after another.

Every third build is on a new machine, the others share one. That one has built another project
before, whose entries in the same GOCACHE must not be lost. Each image is compared with the one that
is built without caches.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from bench import go_entries, projects
from bench.changes import MAIN, Commits, States
from bench.failure import BenchError, read_output
from bench.measure import Row
from bench.running import say
from bench.travel_contents import Check
from bench.travel_ground import PROJECT, REPOSITORY, Measured, Place, remove
from bench.travel_sides import CACHE_TAG, WHERRY, Job, Machine, TravelWherry

GROWTH = "thirty builds"
LOST = "lost entries"
ROWS = (GROWTH, LOST)

BUILDS = 30
LAST = "last build"

_OTHER_GO = "go1.27.4"  # from the middle on
_SEED = 8
_MOVED = "GOCACHE", "GOMODCACHE"


@dataclass(frozen=True)
class Growth:
    """The servers, the module and the side, which has repositories of its own; see `Contents`."""

    where: Place
    states: States
    wherry: TravelWherry
    check: Check

    def rows(self) -> list[Row]:
        """Both rows."""
        where = self.where
        where.registry.reset()
        shared = where.machine()
        other = projects.movies(REPOSITORY, where.directory)
        movies = Job(other.directory, other.package, shared)
        where.go_build(movies)
        kept = set(go_entries.actions(shared.gocache))
        last, sizes, seconds = self._builds(shared)
        used = self._last_alone(last)
        there = set(go_entries.actions(shared.gocache))
        (shared.directory / "app").unlink()
        where.go_build(movies)
        lost = len(kept - there) + len(set(go_entries.actions(shared.gocache)) - there)
        samples = {LAST: (used,), WHERRY: (sizes[-1],)}
        note = f"at most {max(sizes) / 1e6:.1f} MB; a build took {median(seconds):.1f} s"
        return [
            Row(PROJECT, GROWTH, "bytes", samples, f"{note}; {last.last_words}"),
            Row(PROJECT, LOST, "entries", {WHERRY: (lost,)}, f"of {len(kept)} of another project"),
        ]

    def _builds(self, shared: Machine) -> tuple[Measured, list[int], list[float]]:
        where = self.where
        tree = self.states.seed().check_out(shared.directory / "tree")
        commits = Commits(self.states, tree, self.states.edited_files(), random.Random(_SEED))
        upgraded = self._upgraded()
        sizes, seconds = [], []
        for number in range(BUILDS):
            what = commits.next()
            path = upgraded if number >= BUILDS // 2 else {}
            if number % 3 == 2:
                machine = where.machine(path)
                job = Job(Path(shutil.copytree(tree, machine.directory / "tree")), MAIN, machine)
            else:
                job = Job(tree, MAIN, replace(shared, keeps=path))
            measured = where.build(self.wherry, job)
            sizes.append(where.registry.size(self.wherry.caches, CACHE_TAG))
            seconds.append(measured.seconds)
            usual = Job(job.tree, MAIN, where.usual_machine(path))
            expected = where.expected_of(usual, self.wherry)
            self.check(where, f"{GROWTH}, build {number + 1}", self.wherry, measured, expected)
            remove(usual.machine.directory)
            say(f"{GROWTH}: {number + 1}, {what}: {measured.seconds:.1f} s, {sizes[-1]} bytes")
            if job.machine.directory != shared.directory and number + 1 < BUILDS:
                remove(job.machine.directory)
        return measured, sizes, seconds

    def _last_alone(self, last: Measured) -> int:
        """The size of a cache that has just what the last build used."""
        machine = last.job.machine
        keeps = {**machine.keeps, **{name: machine.env[name] for name in _MOVED}}
        alone = replace(self.wherry, caches="cache-last")
        job = Job(last.job.tree, MAIN, self.where.machine(keeps), reads=False)
        self.where.build(alone, job)
        return self.where.registry.size(alone.caches, CACHE_TAG)

    def _upgraded(self) -> dict[str, str]:
        """A PATH on which the other Go comes first."""
        tools = self.where.tools
        env = {**tools.runner.env, "GOTOOLCHAIN": _OTHER_GO}
        root = read_output((tools.go, "env", "GOROOT"), self.where.directory, env).strip()
        return {"PATH": f"{root}/bin{os.pathsep}{tools.runner.env['PATH']}"}


def measure(
    where: Place, states: States, wherry: TravelWherry, check: Check, wanted: Sequence[str]
) -> list[Row]:
    """The wanted rows, or none where they cannot be measured."""
    if not set(ROWS) & set(wanted):
        return []
    mine = replace(wherry, image="app-growth", caches="cache-growth")
    try:
        rows = Growth(where, states, mine, check).rows()
    except BenchError as error:
        say(f"bench: goes on without the row {GROWTH}: {error}")
        return []
    finally:
        where.clear()
    return [row for row in rows if row.name in wanted]
