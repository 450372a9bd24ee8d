# SPDX-License-Identifier: Apache-2.0
"""The programs that are built by Dockerfiles with Go steps, and these Dockerfiles.

Nothing in them is for one builder: neither cache mounts nor flags. A program that its authors
build with an own setting has it as ENV, for all sides alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench import projects
from bench.changes import State, States
from bench.failure import read_output
from bench.projects import Project
from bench.travel_sides import DOCKERFILE, dockerfile_name

NAMES = ("movies", "caddy", "prometheus")
LARGE = ("caddy", "prometheus")  # on the small one times are mostly those of starting processes

# `GOWORK` for the go.work of prometheus, which names modules that are not there. With a time for
# files, equal files are equal images; what steps write has else the time at which they ran.
ENV = {"GOWORK": "off", "SOURCE_DATE_EPOCH": "1700000000"}

_SETTINGS = {"prometheus": "ENV GOWORK=off\n"}
_WORKDIR = "WORKDIR /src\n"
_SINGLE = """\
FROM {host}/golang:1
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN go build -trimpath -ldflags="-s -w" -o /out/app {package}
ENTRYPOINT ["/out/app"]
"""


def kind(name: str) -> str:
    """What rows of a program belong to."""
    return f"gosteps {name}"


def title(name: str) -> str:
    """What the table calls them."""
    made = {"movies": "examples/movies", "caddy": "caddy v2.11.9"}.get(name, "prometheus v0.315.0")
    return f"{made} by Dockerfiles with Go steps, nothing in them for a cache"


@dataclass(frozen=True)
class Program:
    """A module whose tree is edited by `states` alone."""

    project: Project
    states: States

    @property
    def name(self) -> str:
        return self.project.name

    @property
    def kind(self) -> str:
        return kind(self.name)

    @property
    def package(self) -> str:
        return self.project.package

    def seed(self) -> State:
        """What was built before."""
        return replace(self.states.seed(), package=self.package)

    def one_line(self) -> State:
        """A statement in `main` with a value that was never compiled."""
        return replace(self.states.one_line(), package=self.package)

    def textbook(self, host: str) -> str:
        """Modules first, then all sources, and the binary alone in the image."""
        return self._dockerfile(DOCKERFILE, host)

    def single(self, host: str) -> str:
        """The same in one stage, which is the image."""
        return self._dockerfile(_SINGLE, host)

    def write_textbook(self, directory: Path, host: str) -> None:
        """Beside the tree, which stays as it is."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / dockerfile_name(self.package)).write_text(self.textbook(host))

    def _dockerfile(self, text: str, host: str) -> str:
        own = _WORKDIR + _SETTINGS.get(self.name, "")
        return text.format(host=host, package=self.package).replace(_WORKDIR, own, 1)


def program(name: str, go: str, work: Path, env: Mapping[str, str]) -> Program:
    """One of `NAMES`; all its modules are then in the machine's own module cache."""
    if name == "movies":
        project = projects.movies(Path(__file__).resolve().parent.parent, work)
    else:
        make = {"caddy": projects.caddy, "prometheus": projects.prometheus}[name]
        project = make(go, work, env)
    read_output((go, "mod", "download"), project.directory, env)
    return Program(project, States(project, go, env))
