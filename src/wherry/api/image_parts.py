# SPDX-License-Identifier: Apache-2.0
"""What takes room in an image, part by part, for the summary of a build and for `--json`.

A part is a base, the files that were put into the image, or a program; a Dockerfile's steps that
made layers are a part each. Parts are counted alike, so that they add up: as sizes of files where
those are known of all, else compressed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wherry.api.request import PartResult
from wherry.engines.local.engine import Solved
from wherry.engines.local.results import Built
from wherry.graph.build import BuildGraph
from wherry.graph.ops import ComposedBase, ImageOp, RegistryBase
from wherry.oci.reference import parse_reference


class NamedPart(NamedTuple):
    """Layers, what people call them, and what kind of part they are."""

    name: str
    kind: str
    built: Built


def counted(parts: Sequence[NamedPart]) -> tuple[PartResult, ...]:
    """The parts with their sizes in bytes; what takes no room is no part."""
    compressed = any(part.built.unpacked is None for part in parts)

    def size(built: Built) -> int:
        if compressed:
            return sum(layer.descriptor.size for layer in built.layers)
        return built.unpacked or 0

    found = (PartResult(part.name, size(part.built), part.kind) for part in parts)
    return tuple(part for part in found if part.size)


def go_parts(solved: Solved, base: ComposedBase | RegistryBase) -> tuple[PartResult, ...]:
    """The parts of an image of Go programs."""
    parts = []
    for number, built in enumerate(solved.layers):
        if built.binaries:
            parts.append(NamedPart(built.binaries[0].name, "binary", built))
        elif number == 0 and base is not ComposedBase.SCRATCH:
            parts.append(NamedPart(_base_name(base), "base", built))
        else:
            parts.append(NamedPart("files", "files", built))
    return counted(parts)


def step_parts(graph: BuildGraph, solved: Solved) -> tuple[PartResult, ...]:
    """The parts of a Dockerfile's image: its base, and each step that made a layer."""
    numbers = (layer.vertex for layer in graph.image.layers if layer.vertex is not None)
    parts = []
    for number, built in zip(numbers, solved.layers, strict=True):
        vertex = graph.vertices[number]
        if isinstance(vertex.op, ImageOp):
            parts.append(NamedPart(_base_name(vertex.op.base), "base", built))
        else:
            # `[build 2/5] RUN make`: which stage that was in says nothing of the image.
            parts.append(NamedPart(vertex.name.partition("] ")[2] or vertex.name, "files", built))
    return counted(parts)


def _base_name(base: ComposedBase | RegistryBase) -> str:
    if not isinstance(base, RegistryBase):
        return f"base {base}"
    if "://" in base.reference:
        # A layout of the user's, by the name that the Dockerfile gives it.
        return base.reference.partition("@")[0]
    return parse_reference(base.reference).familiar
