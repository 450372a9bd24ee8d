# SPDX-License-Identifier: Apache-2.0
"""Vertices and the build graph, and its validation.

A vertex is an op with ordered inputs; its identity in one build is its number in the graph. An
image output names the vertices whose trees become its layers, lowest first.
"""

from __future__ import annotations

from dataclasses import dataclass

from wherry.errors import InternalError
from wherry.graph.ops import Op
from wherry.oci.image import Pairs, RunConfig
from wherry.oci.platform import Platform


@dataclass(frozen=True, slots=True)
class Vertex:
    """An op, the vertices it takes as inputs, and the step name that the user reads."""

    op: Op
    inputs: tuple[int, ...]
    name: str


@dataclass(frozen=True, slots=True)
class LayerOutput:
    """One layer: the vertex whose tree it holds and its line of the image's history."""

    vertex: int
    created_by: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class ImageOutput:
    """What one image is made of, apart from the layers' bytes."""

    platform: Platform
    layers: tuple[LayerOutput, ...]
    run: RunConfig
    annotations: Pairs
    created: str


@dataclass(frozen=True, slots=True)
class BuildGraph:
    """All vertices in topological order (inputs before users) and the image they make."""

    vertices: tuple[Vertex, ...]
    image: ImageOutput

    def validate(self) -> None:
        """Raise `InternalError` unless every reference points backwards and layers exist."""
        for number, vertex in enumerate(self.vertices):
            if any(not 0 <= item < number for item in vertex.inputs):
                raise InternalError(f"vertex {number} ({vertex.name}) has an input after itself")
        for layer in self.image.layers:
            if not 0 <= layer.vertex < len(self.vertices):
                raise InternalError(f"a layer names vertex {layer.vertex}, which is not there")
