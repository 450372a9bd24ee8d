# SPDX-License-Identifier: Apache-2.0
"""The numbers to reach, as data, and whether they are reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench import (
    checks,
    dockerfiles,
    go_programs,
    go_steps,
    go_steps_fresh,
    go_steps_overhead,
    growth,
    steps,
    travel,
    travel_contents,
    travel_ground,
)
from bench.measure import BEYOND, COLD, MEMORY, NO_CHANGE, ONE_LINE, Row
from bench.projects import TWENTY
from bench.pushes import LAZY_BASE, UNCHANGED_PUSH
from bench.transfers import PULL, PULL_MEMORY, PUSH, PUSH_MEMORY
from bench.travel_sides import BUILDKIT, KO

SUBJECT = "wherry"
GO_BUILD = "go build"

# The registries of the transfers, as the table calls them.
DOCKER_REGISTRY = "docker-registry"
MEMORY_REGISTRY = "memory registry"


@dataclass(frozen=True)
class Target:
    """A limit for wherry in one row; of the reference's median where `is_ratio`.

    `beside` names the side that the ratio is of, in place of the reference.
    """

    row: str
    text: str
    limit: float
    is_ratio: bool = False
    projects: tuple[str, ...] = ("caddy",)
    of: Callable[[Sequence[float]], float] = median
    beside: str = ""
    is_least: bool = False

    def limits(self, figure: float) -> bool:
        """Whether a figure keeps to it."""
        return figure >= self.limit if self.is_least else figure <= self.limit


@dataclass(frozen=True)
class Verdict:
    """A target, the figure seen, and whether it is reached."""

    target: Target
    figure: float
    reached: bool


_ALL = ("movies", "caddy")
_REGISTRIES = (DOCKER_REGISTRY, MEMORY_REGISTRY)
_DOCKERFILES = (dockerfiles.PROJECT,)
_ADVICE = (checks.PROJECT,)
_STEPS = (steps.PROJECT,)
_TRAVEL = (travel_ground.PROJECT,)
_GO_STEPS = tuple(go_programs.kind(name) for name in go_programs.LARGE)
_ALL_GO_STEPS = tuple(go_programs.kind(name) for name in go_programs.NAMES)
_RULES = (go_steps_overhead.PROJECT,)
_BESIDE_PEERS = (
    *_REGISTRIES, *_DOCKERFILES, *_STEPS, *_TRAVEL, *_ALL_GO_STEPS, *_RULES,
)  # fmt: skip


def _part(row: str, beside: str, divisor: int, projects: tuple[str, ...] = _TRAVEL) -> Target:
    """At most one part in `divisor` of what another side takes."""
    text = f"<= 1/{divisor} {beside}"
    return Target(row, text, 1 / divisor, is_ratio=True, projects=projects, beside=beside)


# Times have targets on the large module only: on the small one they are mostly process starts.
TARGETS = (
    Target(NO_CHANGE, "<= 0.25 x go build", 0.25, is_ratio=True),
    Target(NO_CHANGE, "about 0.10 s (< 0.15)", 0.15),
    Target(ONE_LINE, "<= 1.25 x go build", 1.25, is_ratio=True),
    Target(COLD, "<= 1.03 x go build", 1.03, is_ratio=True),
    Target(ONE_LINE, "<= 1.2 x go build", 1.2, is_ratio=True, projects=(TWENTY,)),
    Target(COLD, "<= 1.2 x go build", 1.2, is_ratio=True, projects=(TWENTY,)),
    Target(MEMORY, "<= 150 MB at worst", 150e6, projects=(*_ALL, TWENTY), of=max),
    Target(BEYOND, "<= 1 MB", 1e6, projects=_ALL),
    Target(PUSH, "<= 1.0 x best peer", 1.0, is_ratio=True, projects=_REGISTRIES),
    Target(PUSH_MEMORY, "<= 150 MB at worst", 150e6, projects=_REGISTRIES, of=max),
    Target(PULL, "<= 1.0 x best peer", 1.0, is_ratio=True, projects=_REGISTRIES),
    Target(PULL_MEMORY, "<= 150 MB at worst", 150e6, projects=_REGISTRIES, of=max),
    Target(UNCHANGED_PUSH, "<= 0.25 s", 0.25, projects=_ALL),
    Target(LAZY_BASE, "< 100 kB", 99_999, projects=_ALL),
    Target(dockerfiles.PARSE, "<= 5 ms", 5.0, projects=_DOCKERFILES),
    Target(dockerfiles.SMALL, "<= 0.12 s", 0.12, projects=_DOCKERFILES),
    Target(dockerfiles.LARGE, "<= 0.3 s", 0.3, projects=_DOCKERFILES),
    Target(dockerfiles.LARGE_MEMORY, "<= 150 MB at worst", 150e6, projects=_DOCKERFILES, of=max),
    Target(dockerfiles.COPY, "<= 1.0 x BuildKit", 1.0, is_ratio=True, projects=_DOCKERFILES),
    Target(dockerfiles.COPY_MEMORY, "<= 150 MB at worst", 150e6, projects=_DOCKERFILES, of=max),
    Target(steps.UNCHANGED, "<= 0.15 s", 0.15, projects=_STEPS),
    Target(steps.STAGES, "<= 2 s", 2.0, projects=_STEPS),
    Target(steps.STEPS, "<= 1.0 x BuildKit", 1.0, is_ratio=True, projects=_STEPS),
    Target(steps.APT, "<= 1.1 x BuildKit", 1.1, is_ratio=True, projects=_STEPS),
    Target(steps.CADDY, "<= 1.0 x BuildKit", 1.0, is_ratio=True, projects=_STEPS),
    Target(steps.MOVIES, "<= 1.0 x BuildKit", 1.0, is_ratio=True, projects=_STEPS),
    Target(steps.MEMORY, "<= 150 MB at worst", 150e6, projects=_STEPS, of=max),
    _part(travel.LINE, BUILDKIT, 15),
    _part(travel.LINE, KO, 12),
    Target(travel.UNCHANGED, "<= 0.5 s", 0.5, projects=_TRAVEL),
    Target(travel.RECEIVED, "< 1 MB", 999_999, projects=_TRAVEL, of=max),
    Target(travel.STARTS, "none", 0, projects=_TRAVEL, of=max),
    _part(travel.BUMP, BUILDKIT, 5),
    _part(travel.BUMP, KO, 5),
    Target(travel_contents.SERVICE, ">= 80 %", 80, projects=_TRAVEL, of=min, is_least=True),
    Target(travel_contents.SENT, "<= 1.05 x entries", 1.05, is_ratio=True, projects=_TRAVEL),
    Target(travel_contents.SENT_DEEP, "<= 1.05 x entries", 1.05, is_ratio=True, projects=_TRAVEL),
    Target(travel_contents.RESTORE, ">= 250 MB/s", 250, projects=_TRAVEL, is_least=True),
    Target(growth.GROWTH, "<= 1.5 x last build", 1.5, is_ratio=True, projects=_TRAVEL),
    Target(growth.LOST, "none", 0, projects=_TRAVEL, of=max),
    Target(travel.DIFFERENT, "none", 0, projects=_TRAVEL, of=max),
    _part(go_steps.WARM, BUILDKIT, 20, _GO_STEPS),
    _part(go_steps_fresh.LINE, BUILDKIT, 8, _GO_STEPS),
    Target(go_steps_fresh.UNCHANGED, "<= 0.5 s", 0.5, projects=_GO_STEPS),
    Target(go_steps.SINGLE, "<= 1.05 x BuildKit", 1.05, is_ratio=True, projects=_GO_STEPS),
    Target(go_steps_overhead.OVERHEAD, "<= 1.03 x cache off", 1.03, is_ratio=True, projects=_RULES),
    Target(checks.MANY, "<= 1 s", 1.0, projects=_ADVICE),
    Target(checks.SERVICES, "<= 3 s", 3.0, projects=_ADVICE),
    Target(checks.EDITOR, "<= 0.15 s", 0.15, projects=_ADVICE),
    Target(go_steps.DIFFERENT, "none", 0, projects=_ALL_GO_STEPS, of=max),
)


def reference(row: Row) -> float | None:
    """The median that ratios are of: bare go build's, else the best of the peers'."""
    if GO_BUILD in row.samples:
        return median(row.samples[GO_BUILD])
    peers = [median(values) for side, values in row.samples.items() if side != SUBJECT]
    return min(peers, default=None) if row.project in _BESIDE_PEERS else None


def judge(row: Row) -> list[Verdict]:
    """The verdicts on one row; none where wherry, or what it is compared with, was not measured."""
    if SUBJECT not in row.samples:
        return []
    verdicts = []
    compared = reference(row)
    for target in TARGETS:
        if target.row != row.name or row.project not in target.projects:
            continue
        figure = target.of(row.samples[SUBJECT])
        if target.is_ratio:
            other = _median_of(row, target.beside) if target.beside else compared
            if not other:
                continue
            figure /= other
        verdicts.append(Verdict(target, figure, target.limits(figure)))
    return verdicts


def _median_of(row: Row, side: str) -> float | None:
    return median(row.samples[side]) if side in row.samples else None
