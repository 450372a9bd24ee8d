# SPDX-License-Identifier: Apache-2.0
"""How each tool builds, pushes and keeps its caches in a registry, as a CI job on a new machine.

Fair means here: the same flags, the same registry for images and caches, modules from the same
server on loopback, an image pushed by all, and each tool with the caches that can travel: BuildKit
its layers (`mode=max`), ko none. BuildKit's daemon is started before its clock, and its base image
holds the Go tree that the other two find on the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench import buildkit
from bench.changes import MAIN, SERVICE
from bench.sides import GO_FLAGS, LD_FLAGS, Command

BUILDKIT = "BuildKit"
KO = "ko"
WHERRY = "wherry"

CACHE_TAG = "main"

# As textbooks have it.
DOCKERFILE = """\
FROM {host}/golang:1 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN go build -trimpath -ldflags="-s -w" -o /out/app {package}

FROM scratch
COPY --from=build /out/app /app
ENTRYPOINT ["/app"]
"""


@dataclass(frozen=True)
class Machine:
    """A machine that has nothing but Go and the tools: `directory` has all that it will keep.

    `keeps` are variables that differ, such as a GOCACHE that is not its own.
    """

    directory: Path
    proxy: str
    keeps: Mapping[str, str] = field(default_factory=dict)

    @property
    def gocache(self) -> Path:
        return Path(self.keeps.get("GOCACHE", self.directory / "gocache"))

    @property
    def modules(self) -> Path:
        return Path(self.keeps.get("GOMODCACHE", self.directory / "modules"))

    @property
    def env(self) -> dict[str, str]:
        """What Go and the tools are told of their places."""
        return {
            "GOCACHE": str(self.gocache),
            "GOMODCACHE": str(self.modules),
            "GOPROXY": self.proxy,
            "XDG_CACHE_HOME": str(self.directory / "cache"),
            **self.keeps,
        }


@dataclass(frozen=True)
class Job:
    """One build: which tree and program, on which machine, with which access to the caches."""

    tree: Path
    package: str
    machine: Machine
    reads: bool = True
    writes: bool = True


class TravelSide(Protocol):
    """One tool."""

    @property
    def name(self) -> str:
        """What the table calls it."""

    @property
    def image(self) -> str:
        """The repository of its image."""

    @property
    def caches(self) -> str:
        """The repository of its caches."""

    @contextmanager
    def ready(self, job: Job) -> Iterator[Command]:
        """The command, for the time of the block; what a machine has running is running."""


@dataclass(frozen=True)
class TravelWherry:
    """wherry as a user starts it in a CI job.

    It builds the Go package; with `dockerfiles`, what the package's Dockerfile there says. `words`
    are flags of every build.
    """

    program: tuple[str, ...]
    registry: str
    name: str = WHERRY
    image: str = "app-wherry"
    caches: str = "cache-wherry"
    dockerfiles: Path | None = None
    words: tuple[str, ...] = ()

    @contextmanager
    def ready(self, job: Job) -> Iterator[Command]:
        place = f"{self.registry}/{self.caches}:{CACHE_TAG}"
        words = ["--push", "-t", f"{self.registry}/{self.image}:1"]
        words += ["--cache-from", place] if job.reads else []
        words += ["--cache-to", place] if job.writes else []
        yield self.build(job, tuple(words))

    def build(self, job: Job, words: tuple[str, ...]) -> Command:
        """A build with other words, such as none for caches."""
        options = ("--store", str(job.machine.directory / "store"), "--progress", "plain")
        argv = (*self.program, "build", *self._source(job), *options, *self.words, *words)
        return Command(argv, job.tree, job.machine.env)

    def _source(self, job: Job) -> tuple[str, ...]:
        if self.dockerfiles is None:
            return (job.package,)
        return (".", "-f", str(self.dockerfiles / dockerfile_name(job.package)))


@dataclass(frozen=True)
class TravelKo:
    """ko with a new GOCACHE and GOMODCACHE, since it keeps nothing anywhere else."""

    program: Path
    registry: str
    settings: Path
    name: str = KO
    image: str = "app-ko"
    caches: str = "cache-ko"

    @contextmanager
    def ready(self, job: Job) -> Iterator[Command]:
        argv = (str(self.program), "build", "--bare", "--sbom=none", "--tags=1", job.package)
        env = {
            "KO_CONFIG_PATH": str(self.settings),
            "KO_DEFAULTBASEIMAGE": f"{self.registry}/empty:1",
            "KO_DOCKER_REPO": f"{self.registry}/{self.image}",
        }
        yield Command(argv, job.tree, {**job.machine.env, **env})


def write_ko_settings(directory: Path) -> Path:
    """ko's flags for Go, as a file."""
    directory.mkdir(parents=True, exist_ok=True)
    flags = (("defaultFlags", GO_FLAGS), ("defaultLdflags", LD_FLAGS))
    lines = [f"{key}: [{', '.join(words)}]\n" for key, words in flags]
    (directory / ".ko.yaml").write_text("".join(lines))
    return directory


@dataclass(frozen=True)
class TravelBuildKit:
    """A new BuildKit daemon, the package's Dockerfile, and a cache of all its layers."""

    programs: Path
    registry: str
    dockerfiles: Path
    name: str = BUILDKIT
    image: str = "app-buildkit"
    caches: str = "cache-buildkit"

    @contextmanager
    def ready(self, job: Job) -> Iterator[Command]:
        place = f"type=registry,ref={self.registry}/{self.caches}:{CACHE_TAG}"
        words = ["--import-cache", place] if job.reads else []
        words += ["--export-cache", f"{place},mode=max"] if job.writes else []
        output = f"type=image,name={self.registry}/{self.image}:1,push=true"
        context = ("--local", f"context={job.tree}", "--local", f"dockerfile={self.dockerfiles}")
        file = ("--opt", f"filename={dockerfile_name(job.package)}")
        frontend = ("--progress", "plain", "--frontend", "dockerfile.v0", *context, *file)
        with buildkit.daemon(self.programs, job.machine.directory / "buildkit") as client:
            yield Command((*client, "build", *frontend, "--output", output, *words), job.tree)

    def write_dockerfiles(self) -> None:
        """A Dockerfile for each program; beside the tree, which stays as it is."""
        self.dockerfiles.mkdir(parents=True, exist_ok=True)
        for package in (MAIN, SERVICE):
            text = DOCKERFILE.format(host=self.registry, package=package)
            (self.dockerfiles / dockerfile_name(package)).write_text(text)


def dockerfile_name(package: str) -> str:
    """Of the Dockerfile that builds a main package of a module."""
    return f"Dockerfile.{Path(package).name}"
