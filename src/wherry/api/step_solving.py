# SPDX-License-Identifier: Apache-2.0
"""Solving a Dockerfile's graph, and once more where a result turns out not to be there any more.

Results of earlier steps may be removed under our hands, a cache place may not give what it said
that it has, and a link may lead into Go caches that are not in a root. Then the steps run; the
build does not fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from wherry.engines.local.dry import Fate
from wherry.engines.local.engine import LocalEngine, Solved
from wherry.engines.local.guarded_files import HiddenCache
from wherry.engines.local.snapshot_files import LostChange
from wherry.errors import UsageError, WherryError
from wherry.frontends.dockerfile.go_caches import without_go_caches
from wherry.graph.build import BuildGraph
from wherry.oci.image import Descriptor

if TYPE_CHECKING:
    from wherry.api.cached_steps import CachedSteps

_RUNS: Final = frozenset((Fate.RUNS, Fate.MAY_RUN, Fate.FETCHED))


class Engines(Protocol):
    """Makes engines for one graph."""

    def __call__(self, *, reuse: bool, is_plan: bool = False) -> LocalEngine:
        """A new one; for a plan it fetches nothing."""


class Solving(NamedTuple):
    """How a graph is solved: by engines, with the steps of caches, telling the user by `say`.

    `bytes_wanted`: an output needs the image's layers here.
    """

    engines: Engines
    steps: CachedSteps | None
    say: Callable[[str], None]
    bytes_wanted: bool

    def solve(self, graph: BuildGraph, *, reuse: bool) -> tuple[Solved, LocalEngine]:
        """The graph's image, kept in the store, and the engine that made it; raises its failure."""
        if self.steps is not None and reuse:
            self._choose(self.steps, graph)
        while True:
            engine = self.engines(reuse=reuse)
            try:
                solved = engine.solve_one(graph)
                if self.steps is not None:
                    self.steps.keep_image(made_layers(solved), bytes_wanted=self.bytes_wanted)
                    self.steps.adopt()
            except HiddenCache as error:
                self.say(f"{error.what}: the steps run without them")
                graph = without_go_caches(graph, "a link leads into them")
            except LostChange as error:
                if self.steps is not None and self.steps.do_without():
                    continue
                if not reuse:
                    raise
                # Removed under our hands, or made under other user ids.
                self.say(f"{error.what}: all steps run again")
                reuse = False
            except UsageError:
                # Of a layer, perhaps, that is not what a place said.
                if self.steps is not None:
                    self.steps.distrust(engine.cancel)
                if self.steps is None or not self.steps.do_without():
                    raise
            else:
                engine.keep(solved)
                return solved, engine

    def _choose(self, steps: CachedSteps, graph: BuildGraph) -> None:
        """Let results count whose layers are gone, if no step will have to run on them."""
        if not steps:
            return
        steps.hollow = True
        try:
            fates = {planned.fate for planned in self.engines(reuse=True, is_plan=True).dry(graph)}
            steps.hollow = not fates & _RUNS
        except WherryError:
            # What is wrong with the build, the build tells.
            steps.hollow = False
        steps.forget()


def made_layers(solved: Solved) -> tuple[Descriptor, ...]:
    """The layers of an image that its steps made, in this build or an earlier one."""
    return tuple(
        layer.descriptor
        for built in solved.layers
        if built.tree is not None
        for layer in built.layers
    )
