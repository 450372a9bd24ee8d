# SPDX-License-Identifier: Apache-2.0
"""What the rules for Go steps cost where there is no Go: twenty small steps on busybox.

They are in a stage that is copied from, so that no rule forbids the caches before a step is looked
at. Both sides are wherry, each with a store of its own; the one that begins changes from round to
round, since what a build leaves to be written is felt by the next.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import images
from bench.contexts import Context
from bench.dockerfiles import WherrySide
from bench.failure import BenchError
from bench.go_steps_warm import WITHOUT_CACHES, with_words
from bench.measure import Row
from bench.projects import values
from bench.running import Runner, say
from bench.sides import Command, Wherry

PROJECT = "gosteps"
TITLE = "20 RUN steps without Go, in a stage that is copied from"
OVERHEAD = "rules overhead"

ON = "wherry"
OFF = "cache off"

_STEPS = 20
_WARM_UPS = 2
_WORDS = {ON: ("--go-cache", "auto"), OFF: WITHOUT_CACHES}


def _dockerfile(host: str) -> str:
    steps = (f"RUN cat value >step-{number}\n" for number in range(_STEPS))
    head = f"FROM {host}/busybox:1 AS build\nWORKDIR /work\nCOPY . .\n"
    return "".join((head, *steps, "\nFROM scratch\nCOPY --from=build /work /work\n"))


@dataclass(frozen=True)
class Overhead:
    """`host` has `busybox:1`; `rounds` builds by each side."""

    wherry: Wherry
    runner: Runner
    host: str
    directory: Path
    rounds: int

    def row(self) -> Row:
        """The row; a BenchError where the two images are not equal."""
        samples: dict[str, list[float]] = {ON: [], OFF: []}
        fresh = values()
        with ExitStack() as stack:
            sides = {name: stack.enter_context(self._side(name)) for name in samples}
            for number in range(self.rounds + _WARM_UPS):
                context = self._context(number, next(fresh))
                for name in _turn(tuple(sides), number):
                    seconds = self.runner.seconds(self._build(sides[name], name, context))
                    samples[name] += [seconds] if number >= _WARM_UPS else []
            self._compare(sides, context)
        latest = ", ".join(f"{name} {min(found):.3f} s" for name, found in samples.items())
        say(f"{OVERHEAD}: at best {latest}")
        return Row(PROJECT, OVERHEAD, "s", {name: tuple(all_) for name, all_ in samples.items()})

    def _side(self, name: str) -> WherrySide:
        directory = self.directory / name.replace(" ", "-")
        directory.mkdir(parents=True)
        return WherrySide(Wherry(self.wherry.program, directory))

    def _context(self, number: int, value: str) -> Context:
        """A directory that no build has seen."""
        directory = self.directory / f"context-{number}"
        directory.mkdir(parents=True)
        (directory / "Dockerfile").write_text(_dockerfile(self.host))
        (directory / "value").write_text(value)
        return Context("overhead", directory)

    def _build(self, side: WherrySide, name: str, context: Context) -> Command:
        return with_words(side.build(context), *_WORDS[name])

    def _compare(self, sides: dict[str, WherrySide], context: Context) -> None:
        found = set()
        for name, side in sides.items():
            archive = self.directory / "compared.tar"
            self.runner.seconds(with_words(side.export(context, archive), *_WORDS[name]))
            found.add(images.digest(archive))
            archive.unlink()
        if len(found) != 1:
            raise BenchError(f"the images of {OVERHEAD} differ: {', '.join(sorted(found))}")


def _turn(names: Sequence[str], number: int) -> Sequence[str]:
    return names if number % 2 == 0 else names[::-1]


def measured(overhead: Overhead) -> list[Row]:
    """The row, or none, with a word, where it cannot be measured."""
    try:
        return [overhead.row()]
    except BenchError as error:
        say(f"bench: goes on without the row {OVERHEAD}: {error}")
        return []
    finally:
        shutil.rmtree(overhead.directory, ignore_errors=True)
