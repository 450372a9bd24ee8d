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
from wherry.errors import MachineError, UsageError, WherryError
from wherry.frontends.dockerfile.go_caches import without_go_caches
from wherry.graph.build import BuildGraph
from wherry.oci.image import Descriptor, Layer

if TYPE_CHECKING:
    from wherry.api.cached_steps import CachedSteps

_RUNS: Final = frozenset((Fate.RUNS, Fate.MAY_RUN, Fate.FETCHED))


class Engines(Protocol):
    """Makes engines for one graph."""

    def __call__(self, *, reuse: bool, is_plan: bool = False) -> LocalEngine:
        """A new one; for a plan it fetches nothing."""


class _Attempt(NamedTuple):
    """What is solved, and whether results of earlier builds count."""

    graph: BuildGraph
    reuse: bool


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
        attempt = _Attempt(graph, reuse)
        while True:
            engine = self.engines(reuse=attempt.reuse)
            try:
                solved = engine.solve_one(attempt.graph)
                if self.steps is not None:
                    self.steps.keep_image(_made(solved), bytes_wanted=self.bytes_wanted)
                    self.steps.adopt()
            except WherryError as error:
                another = self._another(attempt, error)
                if another is None:
                    raise
                attempt = another
            else:
                engine.keep(solved)
                return solved, engine

    def _another(self, failed: _Attempt, error: WherryError) -> _Attempt | None:
        """An attempt that may go better than the one that failed with `error`; None for none."""
        steps = self.steps
        match error:
            case HiddenCache():
                graph = without_go_caches(failed.graph, "a link leads into them")
                if graph != failed.graph:
                    self.say(f"{error.what}: the steps run without them")
                    return failed._replace(graph=graph)
                # No step of ours has left any: a record that came from elsewhere says so.
                if steps is not None:
                    steps.leave(error)
            case UsageError() | MachineError():
                # Of a layer, perhaps, that a place gave.
                if steps is not None:
                    steps.distrust(error)
            case LostChange():
                # Removed under our hands, not given by a place, or made under other user ids.
                pass
            case _:
                return None
        if steps is not None and steps.do_without():
            return failed
        if failed.reuse and isinstance(error, HiddenCache | LostChange):
            self.say(f"{error.what}: all steps run again")
            return failed._replace(reuse=False)
        return None

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
    return tuple(layer.descriptor for layer in _made(solved))


def _made(solved: Solved) -> tuple[Layer, ...]:
    return tuple(
        layer for built in solved.layers if built.tree is not None for layer in built.layers
    )
