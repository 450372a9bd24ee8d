# SPDX-License-Identifier: Apache-2.0
"""The rows of advice: how long `wherry check` takes, as a whole process.

No other tool stands beside it: none reads the Go code with the Dockerfile.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Row
from bench.running import Runner, say
from bench.sides import Command, Wherry

MANY = "check 200 files"
SERVICES = "check 20 services"
EDITOR = "check one text"
ROWS = (MANY, SERVICES, EDITOR)

PROJECT = "advice"
TITLE = "wherry check: 200 Dockerfiles without Go code; 20 services; a text on stdin"

FILES = 200
PROGRAMS = 20
_EDITOR_ROUNDS = 10
# What was written just now proves nothing by its time, so that what Go says of it is not kept.
_SETTLED_SECONDS = 3.0

_DOCKERFILE = """\
# syntax=docker/dockerfile:1
ARG GO_VERSION=1.27
FROM --platform=$BUILDPLATFORM golang:${{GO_VERSION}}-alpine AS build-{number}
ARG TARGETOS TARGETARCH
ARG VERSION=v1.{number}.0
RUN apk add --no-cache ca-certificates git make && \\
    update-ca-certificates
WORKDIR /src/service-{number}
{copies}
RUN --mount=type=cache,target=/root/.cache/go-build \\
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \\
    go build -ldflags="-s -w -X main.version=${{VERSION}}" -o /out/service-{number} {package}

FROM golang:${{GO_VERSION}} AS test
COPY --from=build-{number} /src /src
RUN set -e; for directory in /src/*; do \\
        if [ -d "$directory" ]; then cd "$directory" && go test ./...; fi; \\
    done

FROM {base}
LABEL org.opencontainers.image.title="service-{number}"
COPY --from=build-{number} /out/service-{number} /usr/local/bin/service-{number}
ENV PORT=8{number:03} LOG_LEVEL=info
EXPOSE 8{number:03}/tcp
USER 65532:65532
HEALTHCHECK --interval=30s CMD ["/usr/local/bin/service-{number}", "health"]
ENTRYPOINT ["/usr/local/bin/service-{number}"]
"""
_COPIES = (
    "COPY go.mod go.sum ./\nRUN go mod download\nCOPY . .",
    "COPY . .\nRUN go mod download",
    "COPY go.mod ./\nCOPY cmd/ cmd/\nCOPY internal/ internal/",
)
_BASES = ("alpine:3.24", "debian:trixie-slim", "gcr.io/distroless/static-debian13", "scratch")
_MAIN = """\
package main

import (
	"fmt"
	"net/http"
	"os"
	"time"
)

func main() {
	zone, err := time.LoadLocation(os.Getenv("ZONE"))
	fmt.Println(zone, err)
	answer, err := http.Get("https://example.com/")
	fmt.Println(answer, err)
}
"""


@dataclass(frozen=True)
class Checks:
    """wherry, what runs it, and the number of rounds."""

    wherry: Wherry
    runner: Runner
    work: Path
    rounds: int

    def measure(self, wanted: Sequence[str]) -> list[Row]:
        """The wanted rows."""
        directory = self.work / "advice"
        files, services = directory / "files", directory / "services"
        write_files(files)
        write_services(services)
        time.sleep(_SETTLED_SECONDS)
        takes = {
            MANY: (self._check(files), self._forget, self.rounds),
            # Nothing is kept from before: Go is asked about each service.
            SERVICES: (self._check(services), self._forget, self.rounds),
            EDITOR: (self._editor(services / "service-1"), _nothing, _EDITOR_ROUNDS),
        }
        try:
            return [self._row(name, *takes[name]) for name in ROWS if name in wanted]
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _row(self, name: str, command: Command, before: Callable[[], None], rounds: int) -> Row:
        self.runner.seconds(command)
        samples = []
        for _ in range(rounds):
            before()
            samples.append(self.runner.seconds(command))
            say(f"{name}: {samples[-1]:.3f} s")
        return Row(PROJECT, name, "s", {"wherry": tuple(samples)})

    @property
    def _store(self) -> Path:
        return self.work / "advice-store"

    def _forget(self) -> None:
        shutil.rmtree(self._store, ignore_errors=True)

    def _check(self, place: Path) -> Command:
        return Command((*self._words(), str(place)), self.work)

    def _editor(self, place: Path) -> Command:
        words = (*self._words(), "--stdin", "--format", "json")
        return Command(("sh", "-c", 'exec "$@" < Dockerfile', "sh", *words), place)

    def _words(self) -> tuple[str, ...]:
        options = ("--fail-on", "never", "--store", str(self._store))
        return (*self.wherry.program, "check", *options)


def write_files(directory: Path) -> None:
    """Dockerfiles of some 30 lines each, without any Go code."""
    directory.mkdir(parents=True)
    for number in range(FILES):
        (directory / f"{number}.Dockerfile").write_text(dockerfile(number, "./cmd/api"))


def write_services(directory: Path) -> None:
    """Services with a go.mod, a program and a Dockerfile each."""
    for number in range(PROGRAMS):
        place = directory / f"service-{number}"
        place.mkdir(parents=True)
        (place / "go.mod").write_text(f"module example.com/service-{number}\n\ngo 1.24\n")
        (place / "main.go").write_text(_MAIN)
        (place / "Dockerfile").write_text(dockerfile(number, "."))


def dockerfile(number: int, package: str) -> str:
    """One of the Dockerfiles."""
    copies, base = _COPIES[number % len(_COPIES)], _BASES[number % len(_BASES)]
    return _DOCKERFILE.format(number=number, copies=copies, base=base, package=package)


def _nothing() -> None:
    return
