# SPDX-License-Identifier: Apache-2.0
"""Vertices and the build graph, and its validation.

A vertex is an op with ordered inputs; its identity in one build is its number in the graph. An
image output names the vertices whose changes become its layers, lowest first, between the lines of
its history that made no layer.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from wherry.errors import InternalError
from wherry.graph.ops import Op
from wherry.oci.image import Pairs, RunConfig
from wherry.oci.platform import Platform


class Lines(NamedTuple):
    """Lines of the user's text that a vertex comes from, both included; 0 where there is none."""

    first: int = 0
    last: int = 0


_NOWHERE: Final = Lines()


class Vertex(NamedTuple):
    """An op, the vertices it takes as inputs, and the step name that the user reads.

    With `fresh` its result is made anew, whatever earlier builds left. Neither that nor `lines` is
    part of a cache key: keys are made of ops.
    """

    op: Op
    inputs: tuple[int, ...]
    name: str
    lines: Lines = _NOWHERE
    fresh: bool = False


class LayerOutput(NamedTuple):
    """A line of the image's history, and the vertex whose change is the layer that it made.

    `vertex` is None for a line without a layer, such as that of an ENV. A base has a line too: its
    layers are all of it, and its own history stands for the line where it has one. `program` names
    the one program that is meant of a vertex that builds several, each into a layer of its own.
    """

    vertex: int | None
    created_by: str
    comment: str = ""
    program: str = ""


class ImageOutput(NamedTuple):
    """What one image is made of, apart from the layers' bytes.

    `lane` is what progress calls the image, where a build makes several; no byte depends on it.
    """

    platform: Platform
    layers: tuple[LayerOutput, ...]
    run: RunConfig
    annotations: Pairs
    created: str
    author: str = ""
    lane: str = ""


class BuildGraph(NamedTuple):
    """All vertices in topological order (inputs before users) and the images they make."""

    vertices: tuple[Vertex, ...]
    images: tuple[ImageOutput, ...]

    @property
    def image(self) -> ImageOutput:
        """The only image."""
        (image,) = self.images
        return image

    def lanes(self) -> tuple[str, ...]:
        """For each vertex the lane of the one image that needs it; empty where several do.

        Platforms of one image are in one lane.
        """
        users: list[set[str]] = [set() for _ in self.vertices]
        for image in self.images:
            for layer in image.layers:
                if layer.vertex is not None:
                    users[layer.vertex].add(image.lane)
        # Users stand behind their inputs.
        for number in range(len(self.vertices) - 1, -1, -1):
            for item in self.vertices[number].inputs:
                users[item] |= users[number]
        return tuple(next(iter(own)) if len(own) == 1 else "" for own in users)

    def validate(self) -> None:
        """Raise `InternalError` unless every reference points backwards and layers exist."""
        for number, vertex in enumerate(self.vertices):
            if any(not 0 <= item < number for item in vertex.inputs):
                raise InternalError(f"vertex {number} ({vertex.name}) has an input after itself")
        for image in self.images:
            for layer in image.layers:
                if layer.vertex is not None and not 0 <= layer.vertex < len(self.vertices):
                    raise InternalError(f"a layer names vertex {layer.vertex}, which is not there")
