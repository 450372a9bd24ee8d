# SPDX-License-Identifier: Apache-2.0
"""What takes room in an image, part by part."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from wherry.api.image_parts import NamedPart, counted, step_parts
from wherry.engines.local.engine import Solved
from wherry.engines.local.results import Built
from wherry.graph.build import BuildGraph, ImageOutput, LayerOutput, Vertex
from wherry.graph.ops import FilesOp, ImageOp, RegistryBase
from wherry.oci.digest import sha256
from wherry.oci.image import LAYER_GZIP, Descriptor, Layer, RunConfig
from wherry.oci.platform import Platform

AMD64 = Platform("linux", "amd64")
DIGEST = sha256(b"base")


def built(size: int | None, compressed: int) -> Built:
    descriptor = Descriptor(LAYER_GZIP, sha256(str(compressed).encode()), compressed)
    return Built((Layer(descriptor, sha256(b"layer")),), size)


def test_sizes_are_of_files_or_of_layers_but_never_mixed() -> None:
    parts = [
        NamedPart("base", "base", built(100, 40)),
        NamedPart("empty", "files", built(0, 0)),
        NamedPart("api", "binary", built(50, 20)),
    ]
    assert [tuple(part) for part in counted(parts)] == [
        ("base", 100, "base"), ("api", 50, "binary"),
    ]  # fmt: skip
    parts[0] = parts[0]._replace(built=replace(parts[0].built, unpacked=None))
    assert [(part.name, part.size) for part in counted(parts)] == [("base", 40), ("api", 20)]


def of_dockerfile(reference: str) -> list[tuple[str, str]]:
    base = ImageOp(RegistryBase(DIGEST, reference), (), AMD64)
    step = FilesOp(sha256(b"files"), 0)
    vertices = (
        Vertex(base, (), f"[build 1/2] FROM {reference}"),
        Vertex(step, (0,), "[build 2/2] COPY a [b] /c"),
    )
    layers = (LayerOutput(0, "FROM"), LayerOutput(None, "ENV A=1"), LayerOutput(1, "COPY"))
    graph = BuildGraph(vertices, (ImageOutput(AMD64, layers, RunConfig(), (), ""),))
    solved = Solved(cast("Any", None), (built(None, 40), built(5, 2)))
    return [(part.name, part.kind) for part in step_parts(graph, solved)]


def test_steps_are_named_without_their_stage_and_bases_as_people_write_them() -> None:
    assert of_dockerfile(f"docker.io/library/debian:12-slim@{DIGEST}") == [
        ("debian:12-slim", "base"), ("COPY a [b] /c", "files"),
    ]  # fmt: skip
    assert of_dockerfile("oci-layout://extra")[0] == ("oci-layout://extra", "base")
    assert of_dockerfile(f"oci-layout://extra@{DIGEST}")[0] == ("oci-layout://extra", "base")
