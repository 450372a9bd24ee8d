# SPDX-License-Identifier: Apache-2.0
"""The rows: what is measured, in which order, and how.

Every command is a cold process with its output thrown away. Before each one the file system is
synced, outside the measured time, so that no side pays for what the one before it has written.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.failure import command_failed
from bench.images import weigh
from bench.projects import Project
from bench.sides import Command, GoBuild, ImageSide, Side, Wherry

NO_CHANGE = "no change"
ONE_LINE = "one changed line"
COLD = "cold compile"
MEMORY = "peak memory"
BEYOND = "beyond the binary"
IMAGE = "image size"
ROWS = (NO_CHANGE, ONE_LINE, MEMORY, BEYOND, IMAGE, COLD)

POLL_SECONDS = 0.005
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
    """The sides, the environment that all commands share, and the number of rounds."""

    go: GoBuild
    images: Sequence[ImageSide]
    env: Mapping[str, str]
    work: Path
    rounds: int
    cold_rounds: int

    @property
    def sides(self) -> tuple[Side, ...]:
        return (self.go, *self.images)

    def measure(self, project: Project, wanted: Sequence[str]) -> list[Row]:
        """The wanted rows of one project."""
        for side in self.sides:
            side.forget(project)
        rows: list[Row] = []
        if set(wanted) == {COLD}:
            self._time(self.go.build(project))  # no side may have to download modules
        else:
            rows += self._warm_rows(project, wanted)
        if COLD in wanted:
            rows.append(self._cold_row(project))
        return rows

    def _warm_rows(self, project: Project, wanted: Sequence[str]) -> list[Row]:
        project.edit()
        for side in self.sides:
            for _ in range(WARM_UPS):
                seconds = self._time(side.build(project))
                _say(f"{project.name}: warm-up, {side.name}: {seconds:.2f} s")
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
        samples: dict[str, list[float]] = {side.name: [] for side in self.sides}
        for _ in range(self.rounds):
            for side in self.sides:
                before()
                samples[side.name].append(self._time(side.build(project)))
            _say(f"{project.name}: {name}: {_latest(samples)}")
        return _row(project, name, "s", samples)

    def _cold_row(self, project: Project) -> Row:
        samples: dict[str, list[float]] = {side.name: [] for side in self.sides}
        for _ in range(self.cold_rounds):
            for side in self.sides:
                side.forget(project)
                with tempfile.TemporaryDirectory(dir=self.work, prefix="gocache-") as gocache:
                    seconds = self._time(side.build(project), {"GOCACHE": gocache})
                samples[side.name].append(seconds)
            _say(f"{project.name}: {COLD}: {_latest(samples)}")
        return _row(project, COLD, "s", samples)

    def _memory_row(self, project: Project, wherry: Wherry) -> Row:
        peaks: list[float] = []
        for _ in range(self.rounds):
            project.edit()
            peaks.append(self._peak(wherry.build(project)))
        _say(f"{project.name}: {MEMORY}: {max(peaks) / 1e6:.1f} MB")
        return _row(project, MEMORY, "bytes", {wherry.name: peaks})

    def _size_rows(self, project: Project) -> list[Row]:
        self._time(self.go.build(project))
        binary = self.go.binary(project)
        beyond: dict[str, list[float]] = {}
        transfer: dict[str, list[float]] = {self.go.name: [binary.stat().st_size]}
        others = []
        for side in self.images:
            self._time(side.export(project))
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

    def _time(self, command: Command, env: Mapping[str, str] | None = None) -> float:
        os.sync()
        return self._watch(command, _seconds, env or {})

    def _peak(self, command: Command) -> float:
        return self._watch(command, _peak_bytes, {})

    def _watch(
        self,
        command: Command,
        measure: Callable[[Callable[[], subprocess.Popen[bytes]]], float],
        env: Mapping[str, str],
    ) -> float:
        """Runs a command to its end under `measure`; what it says is shown only if it fails."""
        started: list[subprocess.Popen[bytes]] = []
        with tempfile.TemporaryFile() as output:

            def start() -> subprocess.Popen[bytes]:
                process = subprocess.Popen(
                    command.argv,
                    cwd=command.cwd,
                    env={**self.env, **command.env, **env},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=output,
                )
                started.append(process)
                return process

            try:
                figure = measure(start)
            finally:
                for process in started:
                    if process.poll() is None:
                        process.kill()
                        process.wait()
            if started[0].returncode != 0:
                output.seek(0)
                raise command_failed(command.argv, started[0].returncode, output.read())
        return figure


def _seconds(start: Callable[[], subprocess.Popen[bytes]]) -> float:
    begin = time.perf_counter()
    start().wait()
    return time.perf_counter() - begin


def _peak_bytes(start: Callable[[], subprocess.Popen[bytes]]) -> float:
    """The most memory that the process itself had, by polling: wait4 counts its children too.

    The value only grows while the process lives; what it grows in its last interval is not seen.
    """
    process, peak = start(), 0
    while process.poll() is None:
        peak = _high_water(process.pid) or peak
        time.sleep(POLL_SECONDS)
    return peak


def _high_water(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except ProcessLookupError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0  # a process that has ended has no memory to show


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


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
