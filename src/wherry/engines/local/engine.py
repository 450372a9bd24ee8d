# SPDX-License-Identifier: Apache-2.0
"""Runs a build graph on this machine and composes the image from its layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from wherry.engines.local.base import ComposedOperation, EmptyOperation, RegistryOperation
from wherry.engines.local.results import Built, Result
from wherry.engines.local.storage import CacheRecords, LayerSettings, StepCache, Storage
from wherry.errors import InternalError, WherryError
from wherry.events import Sink
from wherry.graph.build import BuildGraph, ImageOutput, Vertex
from wherry.graph.keys import CacheKey
from wherry.graph.ops import ComposedBase, ExecOp, ImageOp, RegistryBase
from wherry.oci.digest import Digest
from wherry.oci.image import HistoryEntry, Image, ImageConfig, make_image
from wherry.process.cancel import CancelToken
from wherry.solver.model import Operation, Step, Task
from wherry.solver.schedule import Solver

if TYPE_CHECKING:
    from wherry.engines.local.dry import Planned


class Solved(NamedTuple):
    """An image whose layers are all in the store, and what they were built from.

    Its manifest and config are there once it was kept (`LocalEngine.keep`): whoever asked for it
    may find that it is none. `was_there`: the store held this very image before.
    """

    image: Image
    layers: tuple[Built, ...]
    was_there: bool = False


class Executors(Protocol):
    """The executors of one kind of build: of a Go module's ops, or of a Dockerfile's."""

    def operation(self, vertex: Vertex) -> Operation[Result] | None:
        """The executor of the vertex's op, None for an op of the other kind."""

    def settled(self, built: Built, cancel: CancelToken) -> Built:
        """A result as layers in the store."""

    def require(self) -> None:
        """Raise `MachineError` where RUN certainly cannot run here."""

    def prepare(self, base: Built, step: Step) -> None:
        """Begin to make ready what a RUN will run in; does not wait."""


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Everything that running a graph here needs.

    `jobs` is how much of wherry's own work runs at once, `programs` how many of the user's
    programs (0: any number). `trace` is called at named points, so that tests can stop the process
    there. With `settings.reuse` False nothing that an earlier build left in the store is used. What
    the store lacks is looked up `beyond` it.
    """

    storage: Storage
    settings: LayerSettings
    executors: Executors
    jobs: int
    programs: int
    sink: Sink
    cancel: CancelToken
    trace: Callable[[str], None]
    beyond: StepCache | None = None

    def solve(
        self, graph: BuildGraph, made: Mapping[int, Result] | None = None
    ) -> tuple[Solved | WherryError, ...]:
        """Run the graph; its images in order, or why a program of one could not be built.

        Images are for `keep` once they were found good.
        Raises any other failure, the first one, or `Cancelled`. `made` holds results of vertices
        that a graph of the same build has had made already.
        """
        cache = self._cache()
        solver = Solver[Result](cache, self.sink, self.cancel, self.jobs, self.programs)
        bases = _bases_of_programs(graph)
        tasks = [
            replace(self._task(vertex, is_base=number in bases), lane=lane)
            for (number, vertex), lane in zip(enumerate(graph.vertices), graph.lanes(), strict=True)
        ]
        results: dict[int, Result] = dict(made or {})
        vertices = dict.fromkeys(
            layer.vertex
            for image in graph.images
            for layer in image.layers
            if layer.vertex is not None
        )
        wanted = [vertex for vertex in vertices if vertex not in results]
        results |= dict(zip(wanted, solver.solve(tasks, wanted), strict=True))
        done = self._settled({vertex: _layers(results[vertex]) for vertex in vertices})
        return tuple(self._composed(image, done) for image in graph.images)

    def _composed(self, output: ImageOutput, done: Mapping[int, Built]) -> Solved | WherryError:
        try:
            layers = tuple(
                done[layer.vertex].program(layer.program) if layer.program else done[layer.vertex]
                for layer in output.layers
                if layer.vertex is not None
            )
        except WherryError as error:
            return error
        image = compose(output, layers)
        was_there = self.storage.blobs.has(image.digest, len(image.manifest_bytes))
        return Solved(image, layers, was_there)

    def keep(self, solved: Solved) -> None:
        """Put the image's config and manifest into the store, which makes it one."""
        image = solved.image
        self._store(image.config_bytes, image.manifest.config.digest)
        self._store(image.manifest_bytes, image.digest)
        self.trace("image-stored")

    def solve_one(self, graph: BuildGraph, made: Mapping[int, Result] | None = None) -> Solved:
        """As `solve` for a graph with one image; raises all failures."""
        (solved,) = self.solve(graph, made)
        if isinstance(solved, WherryError):
            raise solved
        return solved

    def dry(self, graph: BuildGraph) -> tuple[Planned, ...]:
        """What `solve` would make of each vertex; raises what reading bases and contexts raises."""
        from wherry.engines.local.dry import dry_solve  # noqa: PLC0415 - most builds do run

        operations = [self._operation(vertex) for vertex in graph.vertices]
        return dry_solve(graph, operations, self._cache(), self.cancel, reuse=self.settings.reuse)

    def look_up(self, graph: BuildGraph) -> None:
        """Look up the steps that have a definition key, also those that a solve had no need of.

        `beyond` hears of what is there.
        """
        cache = self._cache()
        known: list[CacheKey | None] = []
        for vertex in graph.vertices:
            inputs = [known[number] for number in vertex.inputs]
            found = tuple(key.digest for key in inputs if key is not None)
            is_fixed = len(found) == len(inputs)
            key = self._operation(vertex).definition(found) if is_fixed else None
            if key is not None:
                cache.lookup(key)
            known.append(None if vertex.fresh else key)

    def _cache(self) -> CacheRecords:
        return CacheRecords(self.storage, self.settings, self.beyond)

    def _settled(self, made: Mapping[int, Built]) -> dict[int, Built]:
        """All results, by vertex, as layers in the store; written side by side."""
        if all(built.change is None for built in made.values()):
            return dict(made)
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - not without RUN

        def settled(vertex: int) -> Built:
            try:
                return self.executors.settled(made[vertex], self.cancel)
            except WherryError as error:
                error.step = vertex
                raise

        with ThreadPoolExecutor(self.jobs, thread_name_prefix="layer") as pool:
            try:
                return dict(zip(made, pool.map(settled, made), strict=True))
            finally:
                pool.shutdown(cancel_futures=True)

    def _task(self, vertex: Vertex, *, is_base: bool) -> Task[Result]:
        """The vertex for the solver; `is_base` where a program will run in its result."""
        operation = self._operation(vertex)
        if is_base:
            operation = AheadOperation(operation, self.executors.prepare)
        task = Task(operation, vertex.inputs, vertex.name, vertex.fresh)
        if isinstance(vertex.op, ExecOp):
            return replace(task, waits=True, require=self.executors.require)
        return task

    def _operation(self, vertex: Vertex) -> Operation[Result]:
        op = vertex.op
        if isinstance(op, ImageOp):
            match op.base:
                case RegistryBase():
                    return RegistryOperation(op, op.base, self.storage)
                case ComposedBase.SCRATCH:
                    return EmptyOperation(op)
                case _:
                    return ComposedOperation(op, op.base, self.storage, self.settings)
        found = self.executors.operation(vertex)
        if found is None:
            raise InternalError(f"this build has no executor for {vertex.name}")
        return found

    def _store(self, data: bytes, digest: Digest) -> None:
        if self.settings.reuse and self.storage.blobs.has(digest, len(data)):
            return
        with self.storage.blobs.writer() as writer:
            writer.write(data)
            writer.commit(digest, len(data))


@dataclass(frozen=True, slots=True)
class AheadOperation:
    """A base in which a program will run: it is made ready while steps before that are done."""

    operation: Operation[Result]
    prepare: Callable[[Built, Step], None]

    def definition(self, inputs: tuple[Digest, ...]) -> CacheKey | None:
        """As the base's."""
        return self.operation.definition(inputs)

    def content(self, inputs: tuple[Result, ...]) -> CacheKey | None:
        """As the base's."""
        return self.operation.content(inputs)

    def run(self, inputs: tuple[Result, ...], step: Step) -> Result:
        """The base, as before."""
        result = self.operation.run(inputs, step)
        if isinstance(result, Built):
            self.prepare(result, step)
        return result


def _bases_of_programs(graph: BuildGraph) -> set[int]:
    """The bases that lie, through steps, below a RUN."""
    found: set[int] = set()
    seen: set[int] = set()
    for vertex in graph.vertices:
        if not isinstance(vertex.op, ExecOp):
            continue
        below = vertex.inputs[0]
        while below not in seen:
            seen.add(below)
            if isinstance(graph.vertices[below].op, ImageOp):
                found.add(below)
                break
            if not graph.vertices[below].inputs:
                break
            below = graph.vertices[below].inputs[0]
    return found


def compose(output: ImageOutput, layers: tuple[Built, ...]) -> Image:
    """The image of these layers: config with the history of each, then the manifest."""
    history: list[HistoryEntry] = []
    rest = iter(layers)
    for line in output.layers:
        own = HistoryEntry(output.created, _shown(line.created_by), line.comment)
        if line.vertex is None:
            history.append(replace(own, empty=True))
            continue
        built = next(rest)
        history.extend(built.history or (own,) * len(built.layers))
    config = ImageConfig(
        output.platform, output.created, output.run, (), tuple(history), output.author
    )
    all_layers = tuple(layer for built in layers for layer in built.layers)
    return make_image(all_layers, config, output.annotations)


def _shown(text: str) -> str:
    """A line for people, who may have written bytes that are no text."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _layers(result: Result) -> Built:
    if not isinstance(result, Built):
        raise InternalError("a layer of the image is no layer")
    return result
