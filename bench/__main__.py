# SPDX-License-Identifier: Apache-2.0
"""`python -m bench`: see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from bench import (
    buildkit,
    cache_registry,
    changes,
    checks,
    dockerfiles,
    go_programs,
    go_steps,
    measure,
    options,
    peers,
    projects,
    pushes,
    report,
    servers,
    steps,
    transfers,
    travel,
    travel_ground,
    travel_sides,
)
from bench.bases import Bases
from bench.failure import BenchError, read_output
from bench.measure import Bench, Row
from bench.running import Runner
from bench.sides import GoBuild, ImageSide, Ko, Wherry
from bench.targets import DOCKER_REGISTRY, MEMORY_REGISTRY, judge

# What would change one side alone, or the meaning of a row. PYTHONDONTWRITEBYTECODE would make
# every start of wherry compile its sources, which an installed wherry never does.
_UNWANTED = (
    "GOFLAGS", "GOOS", "GOARCH", "SOURCE_DATE_EPOCH", "PYTHONDONTWRITEBYTECODE",
    "REGISTRY_AUTH_FILE",
)  # fmt: skip
_UNWANTED_PREFIXES = ("KO_", "KOCACHE", "WHERRY_")

T = TypeVar("T")


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    asked = options.parse(argv, environ)
    try:
        with ExitStack() as stack:
            stack.enter_context(_alone(asked.cache))
            return _run(asked, environ, stack)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130


class _Ground(NamedTuple):
    """What all rows stand on; `facts` are told with the figures."""

    asked: argparse.Namespace
    go: str
    platform: str
    work: Path
    env: Mapping[str, str]
    facts: dict[str, str]
    stack: ExitStack

    @property
    def runner(self) -> Runner:
        return Runner(self.env)


def _run(asked: argparse.Namespace, environ: Mapping[str, str], stack: ExitStack) -> int:
    work = asked.cache / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    go, env = _go(environ, asked.cache, work)
    facts = report.machine_facts()
    facts["go"] = read_output((go, "env", "GOVERSION"), work, env).strip()
    platform = "/".join(read_output((go, "env", "GOOS", "GOARCH"), work, env).split())
    ground = _Ground(asked, go, platform, work, env, facts, stack)
    wherry = _optional("wherry", partial(_wherry, ground)) if "wherry" in asked.sides else None
    titles = {
        DOCKER_REGISTRY: "an image of 500 MB, Debian's docker-registry",
        MEMORY_REGISTRY: "an image of 500 MB, go-containerregistry's registry, which keeps "
        "everything in memory",
        dockerfiles.PROJECT: dockerfiles.TITLE,
        steps.PROJECT: steps.TITLE,
        travel_ground.PROJECT: travel_ground.TITLE,
        checks.PROJECT: checks.TITLE,
        **go_steps.TITLES,
    }
    rows = _transfers(ground, wherry)  # first: Runner.usage tells no less than this process has
    rows += _dockerfiles(ground, wherry)
    rows += _steps(ground, wherry)
    rows += _travel(ground, wherry)
    rows += _go_steps(ground, wherry)
    rows += _checks(ground, wherry)
    measured = [*_builds(ground, wherry), *_pushes(ground, wherry)]
    for name in asked.projects if measured else ():
        if name == projects.TWENTY:
            project = projects.twenty(work)
        elif name == "movies":
            project = projects.movies(options.REPOSITORY, work)
        else:
            project = projects.caddy(go, work, env)
        titles[name] = project.title
        rows += [row for measure_rows in measured for row in measure_rows(project)]
    print(report.table(facts, rows, titles))
    path = asked.results / (facts["date"].replace(":", "") + ".json")
    report.write_json(path, facts, rows)
    print(f"\nevery sample: {path}", file=sys.stderr)
    return 1 if asked.strict and not _all_reached(rows) else 0


def _go(environ: Mapping[str, str], cache: Path, work: Path) -> tuple[str, dict[str, str]]:
    """The go command itself, and an environment in which all sides find it first.

    The `go` on PATH may be a script that starts the real one, which would cost bare `go build`.
    """
    env = {
        key: value
        for key, value in environ.items()
        if key not in _UNWANTED and not key.startswith(_UNWANTED_PREFIXES)
    }
    # Nobody's credentials, and no helper programs, are asked for registries on loopback.
    env |= {
        "CGO_ENABLED": "0",
        "GOCACHE": str(cache / "gocache"),
        "DOCKER_CONFIG": str(work / "docker-config"),
    }
    directory = Path(read_output(("go", "env", "GOROOT"), cache, env).strip()) / "bin"
    env["PATH"] = f"{directory}{os.pathsep}{env['PATH']}"
    return str(directory / "go"), env


# --- the rows of each kind ----------------------------------------------------------------------

_Measure = Callable[[projects.Project], list[Row]]


def _builds(ground: _Ground, wherry: Wherry | None) -> Iterator[_Measure]:
    wanted = [name for name in ground.asked.only if name in measure.ROWS]
    if not wanted:
        return
    images: list[ImageSide] = []
    if "ko" in ground.asked.sides:
        ko = _optional("ko", partial(_ko, ground))
        images += [ko] if ko else []
    images += [wherry] if wherry else []
    rounds, cold_rounds = ground.asked.rounds, ground.asked.cold_rounds
    go = GoBuild(ground.go, ground.work)
    bench = Bench(go, images, ground.runner, ground.work, rounds, cold_rounds)
    yield partial(bench.measure, wanted=wanted)


def _pushes(ground: _Ground, wherry: Wherry | None) -> Iterator[_Measure]:
    wanted = [name for name in ground.asked.only if name in pushes.ROWS]
    if not wanted or wherry is None:
        return
    work, env = ground.work, ground.env

    def start() -> str:
        crane = _crane(ground).program
        host = ground.stack.enter_context(servers.docker_registry(work, env))
        pushes.push_base(crane, host, ground.platform, ground.runner, work)
        return host

    host = _optional("the rows of builds with a registry", start)
    if host is not None:
        measured = pushes.Pushes(wherry, ground.runner, host, ground.asked.rounds)
        yield partial(measured.measure, wanted=wanted)


def _transfers(ground: _Ground, wherry: Wherry | None) -> list[Row]:
    wanted = [name for name in ground.asked.only if name in transfers.ROWS]
    sides = ground.asked.sides
    if not wanted:
        return []
    work, env = ground.work, ground.env
    docker = partial(servers.docker_registry, work, env)
    crane = _optional("the rows of transfers", partial(_crane, ground))
    if crane is None:
        return []
    carriers: list[transfers.Carrier] = []
    skopeo = _optional("skopeo", partial(peers.skopeo, work, env)) if "skopeo" in sides else None
    if skopeo is not None:
        ground.facts["skopeo"] = skopeo.version
        carriers.append(transfers.Skopeo(skopeo.program, work))
    if "crane" in sides:
        carriers.append(transfers.Crane(crane.program, work))
    if wherry is not None:
        carriers.append(transfers.WherryCarrier(wherry.program, work))
    moving = transfers.Transfers(
        carriers, ground.runner, work, ground.platform, ground.asked.rounds
    )
    starters = {
        DOCKER_REGISTRY: docker,
        MEMORY_REGISTRY: partial(servers.memory_registry, crane.program, work, env),
    }
    image = moving.prepare(transfers.Crane(crane.program, work), starters[MEMORY_REGISTRY])
    rows: list[Row] = []
    for name, start in starters.items():
        found = _optional(name, partial(moving.measure, name, start, image, wanted))
        rows += found or []
    moving.forget()
    return rows


def _dockerfiles(ground: _Ground, wherry: Wherry | None) -> list[Row]:
    wanted = [name for name in ground.asked.only if name in dockerfiles.ROWS]
    if not wanted or wherry is None:
        return []
    with ExitStack() as stack:
        crane = _crane(ground).program

        def start_daemon() -> buildkit.BuildKitSide:
            daemon = buildkit.running(ground.go, ground.work, ground.env)
            return stack.enter_context(daemon)

        sides: list[dockerfiles.WherrySide | buildkit.BuildKitSide]
        sides = [stack.enter_context(dockerfiles.WherrySide(wherry))]
        if "buildkit" in ground.asked.sides and set(wanted) != {dockerfiles.PARSE}:
            side = _optional("BuildKit", start_daemon)
            sides += [side] if side else []
        registry = partial(_small_base, ground, crane)
        measured = dockerfiles.Dockerfiles(
            sides, ground.runner, ground.work, ground.asked.rounds, registry
        )
        return measured.measure(wanted)


def _checks(ground: _Ground, wherry: Wherry | None) -> list[Row]:
    wanted = tuple(name for name in ground.asked.only if name in checks.ROWS)
    if not wanted or wherry is None:
        return []
    return checks.Checks(wherry, ground.runner, ground.work, ground.asked.rounds).measure(wanted)


def _steps(ground: _Ground, wherry: Wherry | None) -> list[Row]:
    wanted = tuple(name for name in ground.asked.only if name in steps.ROWS)
    if not wanted:
        return []
    with ExitStack() as stack:
        sides: list[dockerfiles.WherrySide | buildkit.BuildKitSide] = []
        if wherry is not None:
            sides.append(stack.enter_context(dockerfiles.WherrySide(wherry)))
        if "buildkit" in ground.asked.sides:
            daemon = buildkit.running(ground.go, ground.work, ground.env)
            side = _optional("BuildKit", lambda: stack.enter_context(daemon))
            sides += [side] if side else []
        crane = _crane(ground).program
        host = stack.enter_context(servers.memory_registry(crane, ground.work, ground.env))
        bases = Bases(ground.asked.cache / "bases", ground.platform, ground.env)
        place = steps.Ground(bases, host, crane, ground.go, ground.work, stack)
        rounds = ground.asked.rounds, ground.asked.cold_rounds
        return steps.Steps(sides, ground.runner, place, *rounds).measure(wanted)


def _travel(ground: _Ground, wherry: Wherry | None) -> list[Row]:
    wanted = tuple(name for name in ground.asked.only if name in travel.ROWS)
    if not wanted:
        return []
    work, env, asked = ground.work / "travel", ground.env, ground.asked
    project = projects.caddy(ground.go, ground.work, env)
    tools = travel_ground.Tools.found(ground.go, ground.runner, ground.work)
    ports = travel_ground.Ports.free()
    host = f"127.0.0.1:{ports.registry}"
    sides = _travel_sides(ground, wherry, host)
    crane = _crane(ground).program
    bases = Bases(asked.cache / "bases", ground.platform, env)

    def prepare(place: travel_ground.Place) -> None:
        if any(side.name == travel_sides.BUILDKIT for side in sides):
            bases.push_golang(crane, host, ground.go, place.proxy)
        peers.push_empty_base(crane, f"{host}/empty:1", ground.platform, ground.work, env)
        place.registry.keep()

    states = changes.States(project, ground.go, env)
    measured = travel.Travel(sides, states, tools, asked.cold_rounds, work, ports, prepare)
    with cache_registry.holding(work):
        found = _optional("the rows of caches that travel", partial(measured.measure, wanted))
    return found or []


def _travel_sides(
    ground: _Ground, wherry: Wherry | None, host: str
) -> list[travel_sides.TravelSide]:
    asked, work = ground.asked.sides, ground.work / "travel-settings"
    sides: list[travel_sides.TravelSide] = []
    if "buildkit" in asked:
        programs = _optional("BuildKit", partial(buildkit.programs, ground.go))
        if programs is not None:
            side = travel_sides.TravelBuildKit(programs, host, work / "dockerfiles")
            side.write_dockerfiles()
            sides.append(side)
    if "ko" in asked:
        install = partial(peers.install, "ko", ground.go, ground.asked.cache / "bin", ground.env)
        ko = _optional("ko", install)
        if ko is not None:
            ground.facts["ko"] = ko.version
            settings = travel_sides.write_ko_settings(work / "ko")
            sides.append(travel_sides.TravelKo(ko.program, host, settings))
    if wherry is not None:
        sides.append(travel_sides.TravelWherry(wherry.program, host))
    return sides


def _go_steps(ground: _Ground, wherry: Wherry | None) -> list[Row]:
    wanted = tuple(name for name in ground.asked.only if name in go_steps.ROWS)
    if not wanted or wherry is None:
        return []
    asked, daemon = ground.asked, None
    if "buildkit" in asked.sides:
        daemon = _optional("BuildKit", partial(buildkit.programs, ground.go))
    runner = Runner({**ground.env, **go_programs.ENV})
    measured = go_steps.GoSteps(
        wherry, daemon, travel_ground.Tools.found(ground.go, runner, ground.work),
        Bases(asked.cache / "bases", ground.platform, ground.env), _crane(ground).program,
        ground.work / "gosteps", asked.rounds, asked.cold_rounds,
    )  # fmt: skip
    found = partial(measured.measure, asked.programs, wanted)
    return _optional("the rows of Go steps", found) or []


@contextmanager
def _small_base(ground: _Ground, crane: Path) -> Iterator[str]:
    with servers.memory_registry(crane, ground.work, ground.env) as host:
        size = dockerfiles.BASE_LAYER
        pushes.push_base(crane, host, ground.platform, ground.runner, ground.work, size)
        yield host


# --- the sides ----------------------------------------------------------------------------------


def _ko(ground: _Ground) -> Ko:
    directory = ground.asked.cache / "bin"
    ko = peers.install("ko", ground.go, directory, ground.env)
    ground.facts["ko"] = ko.version
    registry = peers.base_registry(_crane(ground).program, ground.platform, ground.work, ground.env)
    return Ko(ko.program, ground.stack.enter_context(registry), ground.work)


def _crane(ground: _Ground) -> peers.Peer:
    crane = peers.install("crane", ground.go, ground.asked.cache / "bin", ground.env)
    ground.facts["crane"] = crane.version
    return crane


def _wherry(ground: _Ground) -> Wherry:
    script = Path(sys.executable).with_name("wherry")
    program = (str(script),) if script.exists() else (sys.executable, "-m", "wherry")
    version = read_output((*program, "--version"), ground.work, ground.env)
    ground.facts["wherry"] = version.split()[-1]
    return Wherry(program, ground.work)


def _optional(name: str, make: Callable[[], T]) -> T | None:
    try:
        return make()
    except BenchError as error:
        print(f"bench: goes on without {name}: {error}", file=sys.stderr)
        return None


def _all_reached(rows: Sequence[Row]) -> bool:
    verdicts = [verdict for row in rows for verdict in judge(row)]
    return bool(verdicts) and all(verdict.reached for verdict in verdicts)


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Two benchmarks at once would measure each other, and share a work directory."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchError(f"another benchmark runs in {cache}") from None
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
