# SPDX-License-Identifier: Apache-2.0
"""The rows of Dockerfiles: the language alone, builds with nothing to do, and many files copied.

No Dockerfile here has a RUN that is executed: what is measured is the builder's own work.
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench import contexts
from bench.buildkit import BuildKitSide
from bench.contexts import Context
from bench.failure import BenchError, read_output
from bench.images import Content, content
from bench.measure import WARM_UPS, Row
from bench.running import Runner, Usage, say
from bench.sides import Command, Wherry

PARSE = "parse and lower"
SMALL = "small context"
LARGE = "large context"
LARGE_MEMORY = "context memory"
COPY = "cold copy"
COPY_MEMORY = "copy memory"
ROWS = (PARSE, SMALL, LARGE, LARGE_MEMORY, COPY, COPY_MEMORY)

PROJECT = "dockerfile"
TITLE = (
    "Dockerfiles without RUN: 200 lines; four stages and 21 files; "
    f"{contexts.FILES} files in {contexts.DIRECTORIES} directories"
)

BASE_LAYER = 1_000_000

_SETTLED_SECONDS = 3.0
_PARSE_ROUNDS = 51

Starter = Callable[[], AbstractContextManager[str]]


class WherrySide:
    """wherry, started as a user starts it: a cold process, the image in its store.

    A context manager, which removes its stores.
    """

    name = "wherry"

    def __init__(self, wherry: Wherry) -> None:
        self.wherry = wherry
        self._numbers = itertools.count()
        self._stores = wherry.work / "wherry-dockerfiles"
        self.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        shutil.rmtree(self._stores, ignore_errors=True)

    def build(self, context: Context) -> Command:
        """The command that leaves the context's image in the store."""
        place = str(context.directory)
        inputs = ("-f", str(context.directory / "Dockerfile"), "-t", f"bench/{context.name}:1")
        options = ("--store", str(self._store), "--progress", "plain", "-q")
        pairs = (("--build-arg", f"{name}={value}") for name, value in context.arguments)
        arguments = itertools.chain.from_iterable(pairs)
        words = (*self.wherry.program, "build", *inputs, *options, *arguments, place)
        return Command(words, self.wherry.work)

    def export(self, context: Context, target: Path) -> Command:
        """The command that writes the image to an OCI archive."""
        build = self.build(context)
        return Command((*build.argv, "-o", f"type=oci,dest={target}"), build.cwd)

    def forget(self) -> None:
        """Goes on with a new store; the old one stays on the disk, as BuildKit's files do."""
        self._store = self._stores / str(next(self._numbers))


_Side = WherrySide | BuildKitSide


@dataclass(frozen=True)
class Dockerfiles:
    """The sides, wherry first; `registry` starts one that has `base:1`."""

    sides: Sequence[_Side]
    runner: Runner
    work: Path
    rounds: int
    registry: Starter

    @property
    def _directory(self) -> Path:
        return self.work / "contexts"

    def measure(self, wanted: Sequence[str]) -> list[Row]:
        """The wanted rows."""
        rows = [self._parse_row()] if PARSE in wanted else []
        try:
            if SMALL in wanted:
                rows.append(self._small_row())
            if set(ROWS[2:]) & set(wanted):
                context = contexts.large(self._directory / "large")
                if {LARGE, LARGE_MEMORY} & set(wanted):
                    rows += self._unchanged_rows(context)
                if {COPY, COPY_MEMORY} & set(wanted):
                    rows += self._cold_rows(context)
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)
        return [row for row in rows if row.name in wanted]

    def _parse_row(self) -> Row:
        argv = (sys.executable, "-m", "bench.lowering", str(_PARSE_ROUNDS))
        repository = Path(__file__).resolve().parent.parent
        samples = tuple(json.loads(read_output(argv, repository, self.runner.env)))
        say(f"{PARSE}: {min(samples) * 1e3:.2f}..{max(samples) * 1e3:.2f} ms")
        return Row(PROJECT, PARSE, "ms", {"wherry": tuple(1e3 * value for value in samples)})

    def _small_row(self) -> Row:
        with self.registry() as host:
            context = contexts.small(self._directory / "small", f"{host}/base:1")
            # What was written just now proves nothing by its time: nobody builds twice so soon.
            time.sleep(_SETTLED_SECONDS)
            return self._unchanged_rows(context)[0]

    def _unchanged_rows(self, context: Context) -> list[Row]:
        """Rounds in which there is nothing to do, after as many as it takes to have it so."""
        for side in self.sides:
            side.forget()
            for _ in range(WARM_UPS):
                self.runner.seconds(side.build(context))
        self._compare(context)
        name = SMALL if context.name == "small" else LARGE
        return _rows(
            name, LARGE_MEMORY, self._rounds(name, lambda side: self._again(side, context))
        )

    def _cold_rows(self, context: Context) -> list[Row]:
        found = self._rounds(COPY, lambda side: self._cold(side, context))
        return _rows(COPY, COPY_MEMORY, found)

    def _rounds(self, name: str, run: Callable[[_Side], Usage]) -> Mapping[str, list[Usage]]:
        found: dict[str, list[Usage]] = {side.name: [] for side in self.sides}
        for _ in range(self.rounds):
            for side in self.sides:
                found[side.name].append(run(side))
            latest = (f"{name} {usages[-1].seconds:.3f} s" for name, usages in found.items())
            say(f"{name}: {', '.join(latest)}")
        return found

    def _again(self, side: _Side, context: Context) -> Usage:
        return self.runner.usage(side.build(context))

    def _cold(self, side: _Side, context: Context) -> Usage:
        """A build by a side that has nothing, of files that it has never seen."""
        side.forget()
        copy = self._directory / "copy"
        shutil.copytree(context.directory, copy)
        try:
            return self.runner.usage(side.build(Context(context.name, copy)))
        finally:
            shutil.rmtree(copy)

    def _compare(self, context: Context) -> None:
        """All sides have to make an image of the same files."""
        found: dict[str, Content] = {}
        for side in self.sides:
            target = self.work / "compared.tar"
            try:
                self.runner.seconds(side.export(context, target))
                found[side.name] = content(target)
            finally:
                target.unlink(missing_ok=True)
        expected = Content(context.files, context.size) if context.files else None
        if len({*found.values(), *([expected] if expected else [])}) != 1:
            raise BenchError(f"the images of {context.name} differ: {found}, expected: {expected}")


def _rows(name: str, memory: str, found: Mapping[str, list[Usage]]) -> list[Row]:
    """The times of all, and the memory of wherry: what BuildKit has is its daemon's."""
    seconds = {side: tuple(usage.seconds for usage in usages) for side, usages in found.items()}
    peaks = {"wherry": tuple(usage.peak for usage in found["wherry"])}
    return [Row(PROJECT, name, "s", seconds), Row(PROJECT, memory, "bytes", peaks)]
