# SPDX-License-Identifier: Apache-2.0
"""The rows of builds that talk to a registry: an image that is there, and a base that stays there.

Requests and bytes are counted by a relay, in runs of their own that are not timed.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.failure import read_output
from bench.large import write_image
from bench.measure import WARM_UPS, Row
from bench.projects import Project
from bench.relay import relay
from bench.running import Runner, say
from bench.sides import Command, Wherry

UNCHANGED_PUSH = "unchanged push"
LAZY_BASE = "base received"
ROWS = (UNCHANGED_PUSH, LAZY_BASE)

BASE_LAYER = 300_000_000


@dataclass(frozen=True)
class Pushes:
    """wherry, a running registry that has `base:1`, and the number of rounds."""

    wherry: Wherry
    runner: Runner
    registry: str
    rounds: int

    def measure(self, project: Project, wanted: Sequence[str]) -> list[Row]:
        """The wanted rows of one project; none of several programs, which push under no one tag."""
        if project.is_plural:
            return []
        rows: list[Row] = []
        if UNCHANGED_PUSH in wanted:
            self.wherry.forget(project)
            rows.append(self._unchanged_row(project))
        if LAZY_BASE in wanted:
            self.wherry.forget(project)
            rows.append(self._base_row(project))
        return rows

    def _unchanged_row(self, project: Project) -> Row:
        command = self._pushing(project, self.registry)
        for _ in range(WARM_UPS):
            self.runner.seconds(command)
        samples = tuple(self.runner.seconds(command) for _ in range(self.rounds))
        say(f"{project.name}: {UNCHANGED_PUSH}: {min(samples):.3f}..{max(samples):.3f} s")
        with relay(self.registry) as counted:
            through = self._pushing(project, counted.host)
            self.runner.seconds(through)
            counted.reset()
            self.runner.seconds(through)
            note = f"requests: {counted.requests}"
        return Row(project.name, UNCHANGED_PUSH, "s", {self.wherry.name: samples}, note)

    def _base_row(self, project: Project) -> Row:
        build = self.wherry.build(project)
        with relay(self.registry) as counted:
            argv = (*build.argv, "--base", f"{counted.host}/base:1")
            self.runner.seconds(Command(argv, build.cwd, build.env))
            received, requests = counted.received, counted.requests
        say(f"{project.name}: {LAZY_BASE}: {received} bytes in {requests} requests")
        note = f"requests: {requests}; the base has {BASE_LAYER / 1e6:.0f} MB"
        return Row(project.name, LAZY_BASE, "bytes", {self.wherry.name: (received,)}, note)

    def _pushing(self, project: Project, host: str) -> Command:
        build = self.wherry.build(project)
        argv = (*build.argv, "--push", "-t", f"{host}/{project.name}:1")
        return Command(argv, build.cwd, build.env)


def push_base(
    crane: Path, host: str, platform: str, runner: Runner, work: Path, size: int = BASE_LAYER
) -> None:
    """Puts a base with a layer of `size` bytes, `base:1`, into a registry."""
    layout = work / "large-base"
    image = write_image(layout, (size,), platform)
    try:
        read_output((str(crane), "push", str(image.path), f"{host}/base:1"), work, runner.env)
    finally:
        shutil.rmtree(layout)
