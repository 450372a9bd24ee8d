# SPDX-License-Identifier: Apache-2.0
"""Runs a build graph on this machine and composes the image from its layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, assert_never

from wherry.engines.local.base import ComposedOperation, RegistryOperation
from wherry.engines.local.gobuild import GoBuildOperation
from wherry.engines.local.results import Built
from wherry.engines.local.storage import CacheRecords, LayerSettings, Storage
from wherry.events import Sink
from wherry.golang.closure import World
from wherry.graph.build import BuildGraph, ImageOutput, Vertex
from wherry.graph.ops import GoBuildOp, ImageOp, RegistryBase
from wherry.oci.digest import Digest
from wherry.oci.image import HistoryEntry, Image, ImageConfig, make_image
from wherry.process.cancel import CancelToken
from wherry.solver.model import Operation, Task
from wherry.solver.schedule import Solver


class Solved(NamedTuple):
    """An image whose blobs are all in the store, and what its layers were built from."""

    image: Image
    layers: tuple[Built, ...]


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Everything that running a graph here needs.

    `mtime` stamps the files of Go layers, in seconds; `trace` is called at named points, so that
    tests can stop the process there. With `settings.reuse` False nothing that an earlier build left
    in the store is used.
    """

    storage: Storage
    settings: LayerSettings
    world: World
    mtime: int
    jobs: int
    sink: Sink
    cancel: CancelToken
    trace: Callable[[str], None]

    def solve(self, graph: BuildGraph, made: Mapping[int, Built] | None = None) -> Solved:
        """Run the graph; raises its first failure, or `Cancelled`.

        `made` holds results of vertices that a graph of the same build has had made already.
        """
        cache = CacheRecords(self.storage, self.settings)
        solver = Solver(cache, self.sink, self.cancel, self.jobs)
        tasks = [
            Task(self._operation(vertex), vertex.inputs, vertex.name) for vertex in graph.vertices
        ]
        results = dict(made or {})
        wanted = [layer.vertex for layer in graph.image.layers if layer.vertex not in results]
        results |= dict(zip(wanted, solver.solve(tasks, wanted), strict=True))
        layers = tuple(results[layer.vertex] for layer in graph.image.layers)
        image = compose(graph.image, layers)
        self._store(image.config_bytes, image.manifest.config.digest)
        self._store(image.manifest_bytes, image.digest)
        self.trace("image-stored")
        return Solved(image, layers)

    def _operation(self, vertex: Vertex) -> Operation[Built]:
        op = vertex.op
        match op:
            case ImageOp():
                if isinstance(op.base, RegistryBase):
                    return RegistryOperation(op.base, self.storage)
                return ComposedOperation(op, op.base, self.storage, self.settings)
            case GoBuildOp():
                return GoBuildOperation(
                    op,
                    self.world,
                    self.mtime,
                    self.storage,
                    self.settings,
                    self.trace,
                )
            case _:
                assert_never(op)

    def _store(self, data: bytes, digest: Digest) -> None:
        if self.settings.reuse and self.storage.blobs.has(digest, len(data)):
            return
        with self.storage.blobs.writer() as writer:
            writer.write(data)
            writer.commit(digest, len(data))


def compose(output: ImageOutput, layers: tuple[Built, ...]) -> Image:
    """The image of these layers: config with the history of each, then the manifest."""
    history: list[HistoryEntry] = []
    for line, built in zip(output.layers, layers, strict=True):
        own = HistoryEntry(output.created, line.created_by, line.comment)
        history.extend(built.history or (own,) * len(built.layers))
    config = ImageConfig(output.platform, output.created, output.run, (), tuple(history))
    all_layers = tuple(layer for built in layers for layer in built.layers)
    return make_image(all_layers, config, output.annotations)
