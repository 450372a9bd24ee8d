# SPDX-License-Identifier: Apache-2.0
"""The rows of a large image on its way to a registry and back.

Each push meets a registry that was just started and has nothing; each pull begins with nothing, and
all of them ask the same registry. Starting, removing and checking are not in the measured time.
"""

from __future__ import annotations

import hashlib
import shutil
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.failure import BenchError
from bench.large import write_image
from bench.layouts import Layout
from bench.measure import Row
from bench.running import Runner, Usage, say
from bench.sides import Command

PUSH = "push"
PULL = "pull"
PUSH_MEMORY = "push memory"
PULL_MEMORY = "pull memory"
ROWS = (PUSH, PUSH_MEMORY, PULL, PULL_MEMORY)

_LAYOUT = "large"
_STORE = "wherry-large"

LAYERS = (300_000_000, 100_000_000, 50_000_000, 50_000_000)

Starter = Callable[[], AbstractContextManager[str]]


class Carrier(Protocol):
    """One tool that moves images."""

    @property
    def name(self) -> str:
        """What the table calls it."""

    def own(self, image: Layout, reference: str) -> Command | None:
        """What has to run once before `push`; `reference` is where the image may be had."""

    def push(self, reference: str) -> Command:
        """The command that brings the image to a registry."""

    def pull(self, reference: str, target: Path) -> Command:
        """The command that brings an image into `target`, a directory that is not there."""


class _PushesLayout:
    """A tool that pushes an OCI layout as it is."""

    def __init__(self, program: Path, work: Path) -> None:
        self._program = str(program)
        self._work = work
        self._layout = ""

    def own(self, image: Layout, _reference: str) -> None:
        self._layout = str(image.path)


class Skopeo(_PushesLayout):
    """skopeo, asked for no signatures."""

    name = "skopeo"

    def push(self, reference: str) -> Command:
        return self._copy(f"oci:{self._layout}", f"docker://{reference}", "--dest-tls-verify=false")

    def pull(self, reference: str, target: Path) -> Command:
        return self._copy(f"docker://{reference}", f"oci:{target}:1", "--src-tls-verify=false")

    def _copy(self, source: str, target: str, option: str) -> Command:
        words = ("--insecure-policy", "copy", "--quiet", option, source, target)
        return Command((self._program, *words), self._work)


class Crane(_PushesLayout):
    """crane of go-containerregistry."""

    name = "crane"

    def push(self, reference: str) -> Command:
        return Command((self._program, "push", self._layout, reference), self._work)

    def pull(self, reference: str, target: Path) -> Command:
        argv = (self._program, "pull", "--format=oci", reference, str(target))
        return Command(argv, self._work)


class WherryCarrier:
    """wherry, started as a user starts it; what it pushes lies in a store of its own."""

    name = "wherry"

    def __init__(self, program: tuple[str, ...], work: Path) -> None:
        self._program = program
        self._work = work
        self._store = work / _STORE
        self._source = ""

    def own(self, _image: Layout, reference: str) -> Command:
        shutil.rmtree(self._store, ignore_errors=True)
        self._source = reference
        return self.pull(reference, self._store)

    def push(self, reference: str) -> Command:
        return self._command("push", (self._source, reference), self._store)

    def pull(self, reference: str, target: Path) -> Command:
        return self._command("pull", (reference,), target)

    def _command(self, verb: str, names: tuple[str, ...], store: Path) -> Command:
        options = ("--store", str(store), "--progress", "plain", "-q")
        return Command((*self._program, verb, *names, *options), self._work)


@dataclass(frozen=True)
class Transfers:
    """The tools, and where their files may lie."""

    carriers: Sequence[Carrier]
    runner: Runner
    work: Path
    platform: str
    rounds: int

    def prepare(self, crane: Crane, start: Starter) -> Layout:
        """Makes the image and gives it to all tools."""
        image = write_image(self.work / _LAYOUT, LAYERS, self.platform)
        crane.own(image, "")
        with start() as host:
            reference = f"{host}/large:1"
            self.runner.seconds(crane.push(reference))
            for carrier in self.carriers:
                command = carrier.own(image, reference)
                if command is not None:
                    self.runner.seconds(command)
        return image

    def measure(
        self, registry: str, start: Starter, image: Layout, wanted: Sequence[str]
    ) -> list[Row]:
        """The wanted rows, with registries as `start` gives them; the table says `registry`."""
        rows: list[Row] = []
        if {PUSH, PUSH_MEMORY} & set(wanted):
            found = self._rounds(f"{registry}: push", lambda one: self._pushed(one, start, image))
            rows += _rows(registry, (PUSH, PUSH_MEMORY), found)
        if {PULL, PULL_MEMORY} & set(wanted):
            with start() as host:
                reference = f"{host}/large:1"
                self.runner.seconds(self.carriers[0].push(reference))
                found = self._rounds(
                    f"{registry}: pull", lambda one: self._pulled(one, reference, image)
                )
            rows += _rows(registry, (PULL, PULL_MEMORY), found)
        return [row for row in rows if row.name in wanted]

    def forget(self) -> None:
        """Removes what is large."""
        for name in (_LAYOUT, _STORE):
            shutil.rmtree(self.work / name, ignore_errors=True)

    def _rounds(self, title: str, run: Callable[[Carrier], Usage]) -> Mapping[str, list[Usage]]:
        found: dict[str, list[Usage]] = {carrier.name: [] for carrier in self.carriers}
        for _ in range(self.rounds):
            for carrier in self.carriers:
                found[carrier.name].append(run(carrier))
            latest = (f"{name} {usages[-1].seconds:.3f} s" for name, usages in found.items())
            say(f"{title}: {', '.join(latest)}")
        return found

    def _pushed(self, carrier: Carrier, start: Starter, image: Layout) -> Usage:
        with start() as host:
            usage = self.runner.usage(carrier.push(f"{host}/large:1"))
            _check_pushed(carrier, host, image)
        return usage

    def _pulled(self, carrier: Carrier, reference: str, image: Layout) -> Usage:
        target = self.work / "pulled"
        try:
            usage = self.runner.usage(carrier.pull(reference, target))
            size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
            if size < image.size:
                raise BenchError(f"{carrier.name} has pulled {size} of {image.size} bytes")
        finally:
            shutil.rmtree(target, ignore_errors=True)
        return usage


def _check_pushed(carrier: Carrier, host: str, image: Layout) -> None:
    request = urllib.request.Request(
        f"http://{host}/v2/large/manifests/1",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request) as answer:
        found = f"sha256:{hashlib.sha256(answer.read()).hexdigest()}"
    if found != image.digest:
        raise BenchError(f"{carrier.name} has pushed another image: {found}, not {image.digest}")


def _rows(registry: str, names: tuple[str, str], found: Mapping[str, list[Usage]]) -> list[Row]:
    seconds = {side: tuple(usage.seconds for usage in usages) for side, usages in found.items()}
    peaks = {side: tuple(usage.peak for usage in usages) for side, usages in found.items()}
    return [Row(registry, names[0], "s", seconds), Row(registry, names[1], "bytes", peaks)]
