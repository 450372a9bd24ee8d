# SPDX-License-Identifier: Apache-2.0
"""The rows of builds: what is measured, and in which order."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.images import weigh
from bench.projects import Project
from bench.running import Runner, say
from bench.sides import GoBuild, ImageSide, Side, Wherry

NO_CHANGE = "no change"
ONE_LINE = "one changed line"
COLD = "cold compile"
MEMORY = "peak memory"
BEYOND = "beyond the binary"
IMAGE = "image size"
ROWS = (NO_CHANGE, ONE_LINE, MEMORY, BEYOND, IMAGE, COLD)

WARM_UPS = 2


@dataclass(frozen=True)
class Row:
    """One situation: the samples of each side, in the order they were taken."""

    project: str
    name: str
    unit: str
    samples: Mapping[str, tuple[float, ...]]
    note: str = ""


@dataclass(frozen=True)
class Bench:
    """The sides, what runs their commands, and the number of rounds."""

    go: GoBuild
    images: Sequence[ImageSide]
    runner: Runner
    work: Path
    rounds: int
    cold_rounds: int

    def sides(self, project: Project) -> tuple[Side, ...]:
        """All that build `project`."""
        if not project.is_plural:
            return (self.go, *self.images)
        plain = GoBuild(self.go.go, self.work, name="no flags", flags=())
        return (self.go, plain, *self.images)

    def measure(self, project: Project, wanted: Sequence[str]) -> list[Row]:
        """The wanted rows of one project; sizes where it has one program."""
        if project.is_plural:
            wanted = [name for name in wanted if name not in (BEYOND, IMAGE)]
        for side in self.sides(project):
            side.forget(project)
        rows: list[Row] = []
        if set(wanted) == {COLD}:
            self.runner.seconds(self.go.build(project))  # no side may have to download modules
        else:
            rows += self._warm_rows(project, wanted)
        if COLD in wanted:
            rows.append(self._cold_row(project))
        return rows

    def _warm_rows(self, project: Project, wanted: Sequence[str]) -> list[Row]:
        project.edit()
        for side in self.sides(project):
            for _ in range(WARM_UPS):
                seconds = self.runner.seconds(side.build(project))
                say(f"{project.name}: warm-up, {side.name}: {seconds:.2f} s")
        rows: list[Row] = []
        if NO_CHANGE in wanted:
            rows.append(self._timed_row(project, NO_CHANGE, before=lambda: None))
        if ONE_LINE in wanted:
            rows.append(self._timed_row(project, ONE_LINE, before=project.edit))
        wherry = next((side for side in self.images if isinstance(side, Wherry)), None)
        if MEMORY in wanted and wherry is not None:
            rows.append(self._memory_row(project, wherry))
        if self.images and {BEYOND, IMAGE} & set(wanted):
            rows += [row for row in self._size_rows(project) if row.name in wanted]
        return rows

    def _timed_row(self, project: Project, name: str, before: Callable[[], None]) -> Row:
        samples: dict[str, list[float]] = {side.name: [] for side in self.sides(project)}
        for _ in range(self.rounds):
            for side in self.sides(project):
                before()
                samples[side.name].append(self.runner.seconds(side.build(project)))
            say(f"{project.name}: {name}: {_latest(samples)}")
        return _row(project, name, "s", samples)

    def _cold_row(self, project: Project) -> Row:
        samples: dict[str, list[float]] = {side.name: [] for side in self.sides(project)}
        for _ in range(self.cold_rounds):
            for side in self.sides(project):
                side.forget(project)
                with tempfile.TemporaryDirectory(dir=self.work, prefix="gocache-") as gocache:
                    seconds = self.runner.seconds(side.build(project), {"GOCACHE": gocache})
                samples[side.name].append(seconds)
            say(f"{project.name}: {COLD}: {_latest(samples)}")
        return _row(project, COLD, "s", samples)

    def _memory_row(self, project: Project, wherry: Wherry) -> Row:
        peaks: list[float] = []
        for _ in range(self.rounds):
            project.edit()
            peaks.append(self.runner.peak(wherry.build(project)))
        say(f"{project.name}: {MEMORY}: {max(peaks) / 1e6:.1f} MB")
        return _row(project, MEMORY, "bytes", {wherry.name: peaks})

    def _size_rows(self, project: Project) -> list[Row]:
        self.runner.seconds(self.go.build(project))
        binary = self.go.binary(project)
        beyond: dict[str, list[float]] = {}
        transfer: dict[str, list[float]] = {self.go.name: [binary.stat().st_size]}
        others = []
        for side in self.images:
            self.runner.seconds(side.export(project))
            weight = weigh(side.layout(project), binary)
            beyond[side.name] = [weight.files - binary.stat().st_size]
            transfer[side.name] = [weight.transfer]
            if not weight.holds_binary:
                others.append(side.name)
        note = f"not the binary of go build: {', '.join(others)}" if others else ""
        return [
            _row(project, BEYOND, "bytes", beyond, note),
            _row(project, IMAGE, "bytes", transfer),
        ]


def _row(
    project: Project,
    name: str,
    unit: str,
    samples: Mapping[str, Sequence[float]],
    note: str = "",
) -> Row:
    frozen = {side: tuple(values) for side, values in samples.items()}
    return Row(project.name, name, unit, frozen, note)


def _latest(samples: Mapping[str, Sequence[float]]) -> str:
    return ", ".join(f"{side} {values[-1]:.3f} s" for side, values in samples.items())
