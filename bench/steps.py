# SPDX-License-Identifier: Apache-2.0
"""The rows of Dockerfiles with RUN steps, beside BuildKit.

Bases come from a registry on loopback, modules and packages from servers on loopback: both sides
have the same, and nothing is downloaded while a clock runs.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import projects, scenes, servers
from bench.bases import INSTALLED, Bases
from bench.buildkit import BuildKitSide
from bench.dockerfiles import WherrySide
from bench.failure import BenchError, read_output
from bench.images import Content, content
from bench.measure import Row
from bench.running import Runner, say
from bench.scenes import Scene

UNCHANGED = "run unchanged"
STAGES = "ten stages"
STEPS = "hundred steps"
APT = "apt install"
CADDY = "cache mounts"
MOVIES = "cold movies"
MEMORY = "run memory"
ROWS = (UNCHANGED, STAGES, STEPS, APT, CADDY, MOVIES, MEMORY)

PROJECT = "run"
TITLE = (
    "Dockerfiles with RUN: three stages; ten stages of `sleep 1`; a hundred steps; packages in "
    "Debian; caddy with cache mounts; examples/movies/Dockerfile.multi"
)

_EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "movies"
_SETTLED_SECONDS = 3.0
_ALIKE = 0.01  # logs and caches of a package manager differ by some bytes

_Side = WherrySide | BuildKitSide


@dataclass(frozen=True)
class Ground:
    """What the scenes are made of: a registry that is empty, programs, and a place for files."""

    bases: Bases
    registry: str
    crane: Path
    go: str
    work: Path
    stack: ExitStack

    @property
    def _contexts(self) -> Path:
        return self.work / "run"

    def scene(self, row: str) -> Scene:
        """What one row builds; its bases are then in the registry, its servers running."""
        place, host = self._contexts / row.replace(" ", "-"), self.registry
        if row in (UNCHANGED, STAGES, STEPS):
            self.bases.push_busybox(self.crane, host)
            make = {UNCHANGED: scenes.unchanged, STAGES: scenes.stages, STEPS: scenes.steps}[row]
            return make(place, host)
        if row == APT:
            self.bases.push_debian(self.crane, host)
            mirror = self._serve(self.bases.packages, "packages")
            return scenes.apt(place, host, mirror, INSTALLED)
        env = self.bases.env
        if row == MOVIES:
            read_output((self.go, "mod", "download"), _EXAMPLE, env)
        else:
            project = projects.caddy(self.go, self.work, env)
            read_output((self.go, "list", "-deps", project.package), project.directory, env)
        modules = Path(read_output((self.go, "env", "GOMODCACHE"), self.work, env).strip())
        proxy = self._serve(modules / "cache" / "download", "modules")
        self.bases.push_golang(self.crane, host, self.go, proxy)
        return (
            scenes.movies(place, host, _EXAMPLE) if row == MOVIES else scenes.caddy(project, host)
        )

    def forget(self) -> None:
        """Removes the contexts."""
        shutil.rmtree(self._contexts, ignore_errors=True)

    def _serve(self, directory: Path, name: str) -> str:
        log = self.work / f"{name}.log"
        return self.stack.enter_context(servers.file_server(directory, log, self.bases.env))


@dataclass(frozen=True)
class Steps:
    """The sides; `rounds` of what has a warm base, `cold_rounds` of what has nothing."""

    sides: Sequence[_Side]
    runner: Runner
    ground: Ground
    rounds: int
    cold_rounds: int

    def measure(self, wanted: Sequence[str]) -> list[Row]:
        """The wanted rows; one that cannot be measured is told and left out."""
        rows, peaks = [], []
        for name in ROWS[:-1] if wanted == (MEMORY,) else wanted:
            if name == MEMORY:
                continue
            try:
                row, peak = self._row(name, with_peak=MEMORY in wanted)
            except BenchError as error:
                say(f"bench: goes on without the row {name}: {error}")
                continue
            rows.append(row)
            peaks += peak
        self.ground.forget()
        if peaks:
            rows.append(Row(PROJECT, MEMORY, "bytes", {"wherry": tuple(peaks)}))
        return [row for row in rows if row.name in wanted]

    def _row(self, name: str, *, with_peak: bool) -> tuple[Row, list[float]]:
        scene = self.ground.scene(name)
        for side in self.sides:
            side.forget()
            for _ in range(scene.warm_ups):
                scene.edit()
                seconds = self.runner.seconds(side.build(scene.context))
                say(f"{name}: warm-up, {side.name}: {seconds:.2f} s")
        time.sleep(_SETTLED_SECONDS)  # what was written just now proves nothing by its time
        row = self._timed_row(name, scene)
        self._compare(scene)
        return row, self._peaks(scene) if with_peak else []

    def _timed_row(self, name: str, scene: Scene) -> Row:
        samples: dict[str, list[float]] = {side.name: [] for side in self.sides}
        for _ in range(self.rounds if scene.warm_ups else self.cold_rounds):
            for side in self.sides:
                self._prepare(scene, side)
                samples[side.name].append(self.runner.seconds(side.build(scene.context)))
            latest = (f"{side} {values[-1]:.3f} s" for side, values in samples.items())
            say(f"{name}: {', '.join(latest)}")
        return Row(PROJECT, name, "s", {side: tuple(values) for side, values in samples.items()})

    def _prepare(self, scene: Scene, side: _Side) -> None:
        if not scene.warm_ups:
            side.forget()
            os.sync()  # what the side before this one wrote is not its to wait for
        scene.edit()

    def _peaks(self, scene: Scene) -> list[float]:
        """One more build by wherry, not timed: looking at its processes takes time."""
        peaks = []
        for side in self.sides:
            if isinstance(side, WherrySide):
                self._prepare(scene, side)
                peaks.append(self.runner.peak_of_all(side.build(scene.context)))
                say(f"{scene.context.name}: {peaks[-1] / 1e6:.1f} MB")
        return peaks

    def _compare(self, scene: Scene) -> None:
        """All sides have to make an image of as many files, and of about the same size."""
        found: dict[str, Content] = {}
        for side in self.sides:
            target = self.ground.work / "compared.tar"
            try:
                self.runner.seconds(side.export(scene.context, target))
                found[side.name] = content(target)
            finally:
                target.unlink(missing_ok=True)
        sizes = [one.size for one in found.values()]
        same = len({one.files for one in found.values()}) == 1
        if not same or max(sizes) - min(sizes) > _ALIKE * max(sizes):
            raise BenchError(f"the images of {scene.context.name} differ: {found}")
