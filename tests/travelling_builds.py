# SPDX-License-Identifier: Apache-2.0
"""Machines that build Dockerfiles with RUN, for tests of steps that travel.

The base is busybox in the test's own registry; each machine has a store and a checkout of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from fault_registry import FaultRegistry
from registry_samples import image, noise
from registry_samples import layer as tar_of
from step_builds import base_layer
from wherry.api.building import build_images
from wherry.api.request import BuildOutcome, BuildRequest, BuildResult
from wherry.events import Event, Message, Outcome, StepEnded, StepStarted
from wherry.gocache.directory_place import DirectoryPlace
from wherry.gocache.pack_index import read_index
from wherry.gocache.pack_set import PackSet
from wherry.oci.image import Layer
from wherry.process.cancel import CancelToken
from wherry.process.clock import next_file_clock_ns

_INSTRUCTION = re.compile(r"\[[^]]*\d+/\d+\] (.*)", re.DOTALL)
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Large enough to be seen in what a registry sent.
BASE_SIZE = 2_000_000
# The textbook's order; what is downloaded is another thing each time.
FILES = {
    "Dockerfile": """FROM {host}/team/base:1 AS build
WORKDIR /src
COPY go.mod ./
RUN mkdir /cache && cp go.mod /cache/mods && cat /proc/sys/kernel/random/uuid >> /cache/mods
COPY . .
RUN cat /cache/mods main.txt > /out && head -c 300000 /dev/urandom > /objects
FROM scratch
COPY --from=build /out /out
""",
    "go.mod": "module example.com/m\n",
    "main.txt": "first\n",
    ".dockerignore": "Dockerfile\n",
}
DOWNLOAD = (
    "RUN mkdir /cache && cp go.mod /cache/mods && cat /proc/sys/kernel/random/uuid >> /cache/mods"
)
COMPILE = "RUN cat /cache/mods main.txt > /out && head -c 300000 /dev/urandom > /objects"
OF_SOURCES = ["COPY . .", COMPILE, "COPY --from=build /out /out"]


class Done(NamedTuple):
    """What a build gave and told."""

    outcome: BuildOutcome
    events: list[Event]

    @property
    def image(self) -> BuildResult:
        (found,) = self.outcome.images
        return found

    @property
    def said(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Message)]

    @property
    def ran(self) -> list[str]:
        """The instructions that were not answered by a cache, in the order of their ends."""
        names = {event.id: event.name for event in self.events if isinstance(event, StepStarted)}
        ended = (event for event in self.events if isinstance(event, StepEnded))
        return [match[1] for event in ended if event.outcome is not Outcome.CACHED
                and (match := _INSTRUCTION.fullmatch(names[event.id]))
                and not match[1].startswith("FROM ")]  # fmt: skip


class StepMachine:
    """One machine below `root`, with FILES in its checkout."""

    def __init__(self, root: Path, host: str) -> None:
        self.root = root
        self.checkout = root / "src"
        self.store = root / "store"
        (root / "home").mkdir(parents=True)
        self.env = {"PATH": os.environ["PATH"], "HOME": str(root / "home")}
        for name, text in FILES.items():
            self.write(name, text.replace("{host}", host))

    def write(self, name: str, text: str) -> None:
        path = self.checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.checkout / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def request(self, place: object = None, **asked: object) -> BuildRequest:
        request = BuildRequest(".", str(self.checkout), dict(self.env), str(self.store))
        if place is not None:
            request = request._replace(cache_from=(str(place),), cache_to=(str(place),))
        return request._replace(**asked)  # type: ignore[arg-type]

    def build(self, place: object = None, **asked: object) -> Done:
        """Build with `place` to begin from and to write to."""
        next_file_clock_ns()
        events: list[Event] = []
        outcome = build_images(self.request(place, **asked), events.append, CancelToken())
        return Done(outcome, events)

    def blobs(self) -> set[str]:
        """The digests of the blobs in the store."""
        return {f"sha256:{path.name}" for path in (self.store / "blobs" / "sha256").iterdir()}


def serve_base(registry: FaultRegistry) -> str:
    """Give the registry the base; returns the digest of its large layer."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is missing: no root to run in")
    probe = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    if os.geteuid() and subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this machine refuses user namespaces")
    filling = tar_of({"filling": noise(BASE_SIZE)})
    sample = image((base_layer(Path(busybox)), filling), settings={"Env": [_PATH]})
    registry.put_sample("team/base", "1", sample)
    layers = sample.document["layers"]
    assert isinstance(layers, list)
    return str(layers[1]["digest"])


def held(place: Path) -> PackSet:
    """What a directory holds."""
    found = DirectoryPlace(str(place), str(place), CancelToken()).current()
    assert found is not None
    return read_index(found.index)


def held_in(registry: FaultRegistry, repository: str, tag: str) -> PackSet:
    """What a tag holds."""
    import json

    manifest = json.loads(registry.manifest(repository, tag))
    return read_index(registry.blob(manifest["config"]["digest"]))


def layers_of_runs(found: PackSet) -> list[Layer]:
    return [layer for run in found.steps.runs.values() for _, layer in run.layers]
