# SPDX-License-Identifier: Apache-2.0
"""What builds on fresh machines stand on: a registry, a server of modules, directories.

Everything that is asked for lies on the machine: modules come from its own module cache over HTTP,
the base images of the peers from the registry.
"""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bench import executed, images, servers
from bench.cache_registry import CacheRegistry, Traffic
from bench.changes import State
from bench.failure import BenchError, read_output
from bench.links import Link, free_port
from bench.running import Runner, Told
from bench.sides import GO_FLAGS, LD_FLAGS, Command
from bench.travel_sides import Job, Machine, TravelSide, TravelWherry

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = "travel"
TITLE = (
    "caddy v2.11.9 on fresh machines: empty store, GOCACHE, GOMODCACHE and BuildKit; images and "
    "caches in a registry"
)

_GO = "go"
_ROOM = 15_000_000_000  # bytes that the machines of one more round may need
_SETTLED_SECONDS = 65.0


class Ports(NamedTuple):
    """Where the servers are met; the same over all links, since references have them."""

    registry: int
    modules: int

    @classmethod
    def free(cls) -> Ports:
        return cls(free_port(), free_port())


@dataclass(frozen=True)
class Tools:
    """The go command and where the machine has its caches; the runner for all sides."""

    go: str
    runner: Runner
    gocache: Path
    modules: Path

    @classmethod
    def found(cls, go: str, runner: Runner, work: Path) -> Tools:
        places = read_output((go, "env", "GOCACHE", "GOMODCACHE"), work, runner.env).split()
        return cls(go, runner, *map(Path, places))


class Measured(NamedTuple):
    """One build: its time, what moved, how often Go was started, and the job itself."""

    told: Told
    traffic: Traffic
    starts: Mapping[str, int]
    job: Job

    @property
    def seconds(self) -> float:
        return self.told.seconds

    @property
    def last_words(self) -> str:
        """The last line that it wrote."""
        lines = self.told.messages.strip().splitlines()
        return lines[-1].strip() if lines else ""


class Expected(NamedTuple):
    """What a state gives without any caches that travelled: the binary, and wherry's image.

    `digest` is empty where that image was not built.
    """

    binary: Path
    digest: str


@dataclass(frozen=True)
class Place:
    """Servers that run, over one link; `directory` takes all files."""

    directory: Path
    registry: CacheRegistry
    proxy: str
    link: Link
    tools: Tools
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def machine(self, keeps: Mapping[str, str] | None = None) -> Machine:
        """A new one."""
        directory = self.directory / "machines" / str(next(self._numbers))
        directory.mkdir(parents=True)
        return Machine(directory, self.proxy, keeps or {})

    def job(self, state: State, machine: Machine, *, writes: bool = True) -> Job:
        """A build of a new checkout."""
        tree = state.check_out(machine.directory / "tree")
        return Job(tree, state.package, machine, writes=writes)

    def build(self, side: TravelSide, job: Job) -> Measured:
        """One measured build, on whatever the registry has now."""
        with side.ready(job) as command, _starts_of(self.tools.go) as starts:
            # A new machine has nothing to write for another one.
            os.sync()
            told = self.tools.runner.told(command)
        return Measured(told, self.registry.traffic(side.caches), dict(starts), job)

    def expected(self, state: State, wherry: TravelWherry | None) -> Expected:
        """Builds a state with the machine's own Go caches, into which nothing has travelled."""
        return self.expected_of(self.job(state, self.usual_machine()), wherry)

    def expected_of(self, job: Job, wherry: TravelWherry | None) -> Expected:
        """Builds a tree with the caches of the job's machine, and none that travel."""
        binary = self.go_build(job)
        digest = ""
        if wherry is not None:
            words = ("-t", f"{wherry.registry}/{wherry.image}:1")
            digest = _digest(self.tools.runner.told(wherry.build(job, words)))
        return Expected(binary, digest)

    def usual_machine(self, keeps: Mapping[str, str] | None = None) -> Machine:
        """One that has the Go caches of the machine itself, and keeps other variables."""
        places = {"GOCACHE": str(self.tools.gocache), "GOMODCACHE": str(self.tools.modules)}
        return self.machine({**places, **(keeps or {})})

    def go_build(self, job: Job) -> Path:
        """Has bare `go build` make the binary, which is no part of its tree."""
        binary = job.machine.directory / "app"
        flags = (*GO_FLAGS, f"-ldflags={' '.join(LD_FLAGS)}", "-o", str(binary))
        found = shutil.which("go", path=job.machine.env.get("PATH", "")) or self.tools.go
        argv = (found, "build", *flags, job.package)
        self.tools.runner.seconds(Command(argv, job.tree, job.machine.env))
        return binary

    def difference(self, side: TravelSide, measured: Measured, expected: Expected) -> str:
        """In what the pushed image is not the expected one; the empty string where it is."""
        layers = self.registry.manifest(side.image, "1")["layers"]
        if not images.has_file(
            (self.registry.blob(one["digest"]) for one in layers), expected.binary
        ):
            return f"{side.name}: not the binary of go build"
        if expected.digest and isinstance(side, TravelWherry):
            found = {_digest(measured.told), self.registry.digest(side.image, "1")}
            if found != {expected.digest}:
                return f"{side.name}: {', '.join(sorted(found))} in place of {expected.digest}"
        return ""

    def clear(self) -> None:
        """Removes the machines."""
        remove(self.directory / "machines")

    def make_room(self) -> None:
        """Removes the machines where the disk may become full, and waits."""
        if shutil.disk_usage(self.directory).free < _ROOM:
            self.settle()

    def settle(self) -> None:
        """Removes the machines and waits until nothing is slower for that.

        ext4 without a journal looks at each file removed in the last minute whenever it makes one.
        """
        self.clear()
        time.sleep(_SETTLED_SECONDS)


@contextmanager
def place(directory: Path, link: Link, tools: Tools, ports: Ports) -> Iterator[Place]:
    """All servers over one link, for the time of the block."""
    env = tools.runner.env
    download = tools.modules / "cache" / "download"
    with (
        link.front(ports.modules) as port,
        servers.file_server(download, directory / "modules.log", env, port),
        CacheRegistry(directory / "registry", env, link, ports.registry) as registry,
    ):
        made = Place(directory, registry, f"http://127.0.0.1:{ports.modules}", link, tools)
        try:
            yield made
        finally:
            made.clear()


def remove(directory: Path) -> None:
    """Removes a tree with the read-only directories of a module cache in it."""
    for top, names, _ in os.walk(directory):
        for name in names:
            path = os.path.join(top, name)
            if not os.path.islink(path):
                os.chmod(path, stat.S_IRWXU)
    shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _starts_of(go: str) -> Iterator[Counter[str]]:
    """Counts starts of the go command and its compiler; where nobody can count, nothing is told."""
    try:
        counting = executed.counted(_programs_of_go(go))
        found = counting.__enter__()
    except BenchError:
        yield Counter()
        return
    try:
        found.update(dict.fromkeys((_GO,), 0))
        yield found
    finally:
        counting.__exit__(None, None, None)


def _programs_of_go(go: str) -> Sequence[Path]:
    root = Path(go).parent.parent
    return (Path(go), *root.glob("pkg/tool/*/compile"))


def _digest(told: Told) -> str:
    """Of a reference NAME:TAG@DIGEST, the only line that wherry prints."""
    return told.output.strip().rpartition("@")[2]
