# SPDX-License-Identifier: Apache-2.0
"""The rows of Go steps on a machine that built the commit before.

BuildKit's daemon runs and has all its layers, wherry has its store. Before each round one line
changes, and both build the same tree in turn, with nothing left to write to the disk, and all that
both keep read just before. The image stays with the builder, as in the other rows with RUN; it is
looked at outside of the clock.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import buildkit, images
from bench.contexts import Context
from bench.dockerfiles import WherrySide
from bench.measure import Row
from bench.running import read_through, say
from bench.sides import Command, Wherry
from bench.travel_sides import Job

if TYPE_CHECKING:
    from bench.buildkit import BuildKitSide
    from bench.go_programs import Program
    from bench.running import Runner
    from bench.travel_ground import Place

WITHOUT_CACHES = ("--go-cache", "off")


@dataclass(frozen=True)
class Warm:
    """Builds of one program, below `directory`; `where` has the bases and modules.

    `with_buildkit` says whether a daemon can be had.
    """

    program: Program
    where: Place
    wherry: Wherry
    with_buildkit: bool
    directory: Path
    rounds: int
    differences: list[str]

    def row(self, name: str, dockerfile: str, *, is_repeatable: bool) -> Row:
        """A row of times; `is_repeatable` where equal sources give equal images."""
        directory = self.directory / name.replace(" ", "-")
        tree = self.program.seed().check_out(directory / "tree")
        (tree / "Dockerfile").write_text(dockerfile)
        context = Context(self.program.name, tree)
        with self._sides(directory) as sides:
            for side in sides:
                seconds = self._runner.seconds(side.build(context))
                say(f"{name}: the commit before, {side.name}: {seconds:.2f} s")
            samples: dict[str, list[float]] = {side.name: [] for side in sides}
            for _ in range(self.rounds):
                self.program.one_line().change(tree)
                for side in sides:
                    # What the other side has still to write would be this one's to wait for.
                    os.sync()
                    read_through(directory)
                    samples[side.name].append(self._runner.seconds(side.build(context)))
                latest = (f"{side} {values[-1]:.3f} s" for side, values in samples.items())
                say(f"{name}: {', '.join(latest)}")
                self._compare(name, sides, context)
            if is_repeatable:
                self._compare_digests(name, sides, context)
        times = {side: tuple(values) for side, values in samples.items()}
        return Row(self.program.kind, name, "s", times)

    @property
    def _runner(self) -> Runner:
        return self.where.tools.runner

    @contextmanager
    def _sides(self, directory: Path) -> Iterator[list[WherrySide | BuildKitSide]]:
        tools = self.where.tools
        with ExitStack() as stack:
            sides: list[WherrySide | BuildKitSide] = []
            if self.with_buildkit:
                daemon = buildkit.running(tools.go, directory, tools.runner.env)
                sides.append(stack.enter_context(daemon))
            sides.append(stack.enter_context(self._wherry_side(directory)))
            yield sides

    def _wherry_side(self, directory: Path) -> WherrySide:
        directory.mkdir(parents=True, exist_ok=True)
        return WherrySide(Wherry(self.wherry.program, directory))

    def _compare(self, name: str, sides: list[WherrySide | BuildKitSide], context: Context) -> None:
        """All images have to hold what bare `go build` makes of the tree."""
        where = self.where
        machine = where.usual_machine()
        binary = where.go_build(Job(context.directory, self.program.package, machine))
        for side in sides:
            with self._exported(side.export(context, self._archive)) as archive:
                if not images.weigh(archive, binary).holds_binary:
                    self._differs(f"{side.name}: not the binary of go build ({name})")

    def _compare_digests(
        self, name: str, sides: list[WherrySide | BuildKitSide], context: Context
    ) -> None:
        """wherry's image has to be what a new store and no Go cache give."""
        found = []
        with self._wherry_side(self.directory / "plain") as plain:
            own = next(side for side in sides if isinstance(side, WherrySide))
            cold = with_words(plain.export(context, self._archive), *WITHOUT_CACHES)
            for command in (own.export(context, self._archive), cold):
                with self._exported(command) as archive:
                    found.append(images.digest(archive))
        if found[0] != found[1]:
            self._differs(f"wherry: {found[0]} in place of {found[1]} ({name})")

    @property
    def _archive(self) -> Path:
        return self.directory / "compared.tar"

    @contextmanager
    def _exported(self, command: Command) -> Iterator[Path]:
        try:
            self._runner.seconds(command)
            yield self._archive
        finally:
            self._archive.unlink(missing_ok=True)

    def _differs(self, text: str) -> None:
        say(text)
        self.differences.append(text)


def with_words(command: Command, *words: str) -> Command:
    """The same command with further flags."""
    return Command((*command.argv, *words), command.cwd, command.env)
