# SPDX-License-Identifier: Apache-2.0
"""Runs a build graph on this machine and composes the image from its layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, assert_never

from wherry.engines.local.base import ImageOperation
from wherry.engines.local.gobuild import GoBuildOperation
from wherry.engines.local.results import Built
from wherry.engines.local.storage import CacheRecords, LayerSettings, Storage
from wherry.events import Sink
from wherry.golang.closure import World
from wherry.graph.build import BuildGraph, ImageOutput, Vertex
from wherry.graph.ops import GoBuildOp, ImageOp
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

    def solve(self, graph: BuildGraph) -> Solved:
        """Run the graph; raises its first failure, or `Cancelled`."""
        cache = CacheRecords(self.storage, self.settings)
        solver = Solver(cache, self.sink, self.cancel, self.jobs)
        tasks = [
            Task(self._operation(vertex), vertex.inputs, vertex.name) for vertex in graph.vertices
        ]
        layers = solver.solve(tasks, [layer.vertex for layer in graph.image.layers])
        image = compose(graph.image, layers)
        self._store(image.config_bytes, image.manifest.config.digest)
        self._store(image.manifest_bytes, image.digest)
        self.trace("image-stored")
        return Solved(image, layers)

    def _operation(self, vertex: Vertex) -> Operation[Built]:
        op = vertex.op
        match op:
            case ImageOp():
                return ImageOperation(op, self.storage, self.settings)
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
    """The image of these layers: config with one line of history for each, then the manifest."""
    history = tuple(
        HistoryEntry(output.created, layer.created_by, layer.comment) for layer in output.layers
    )
    config = ImageConfig(output.platform, output.created, output.run, (), history)
    return make_image(tuple(built.layer for built in layers), config, output.annotations)
