# SPDX-License-Identifier: Apache-2.0
"""Lowering Dockerfiles in tests: a world of a few images and contexts, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wherry.errors import UsageError
from wherry.frontends.dockerfile.lower import lower
from wherry.frontends.dockerfile.parse import parse
from wherry.frontends.dockerfile.request import BaseImage, Lowered, NamedContext, Request
from wherry.frontends.dockerfile.source import Problem, Problems
from wherry.frontends.dockerfile.typed import read_dockerfile
from wherry.graph.build import Vertex
from wherry.graph.ops import ExecOp, FileOp, ImageOp, RegistryBase
from wherry.oci.digest import sha256
from wherry.oci.image import Pairs, RunConfig
from wherry.oci.platform import Platform
from wherry.oci.reference import parse_reference

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")
# A line of the history without what every one has.
MARK = " # wherry"


@dataclass
class World:
    """A resolver: images by full name, contexts by name; `missing` are images that are not there.

    What is not listed is an empty image for the asked platform. `asked` are the images asked for.
    """

    images: Mapping[str, RunConfig] = field(default_factory=dict)
    contexts: Mapping[str, NamedContext] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    platforms: Mapping[str, Platform] = field(default_factory=dict)
    authors: Mapping[str, str] = field(default_factory=dict)
    asked: list[tuple[str, Platform]] = field(default_factory=list)

    def image(self, reference: str, platform: Platform) -> BaseImage:
        """As `Resolver.image`."""
        full = parse_reference(reference).full
        self.asked.append((reference, platform))
        if reference in self.missing:
            raise UsageError(f"there is no image {reference}", hint="look for it")
        return BaseImage(
            sha256(full.encode()),
            full,
            self.platforms.get(reference, platform),
            self.images.get(reference, RunConfig()),
            self.authors.get(reference, ""),
        )

    def named(self, name: str, _platform: Platform) -> NamedContext | None:
        """As `Resolver.named`."""
        return self.contexts.get(name)


def lowered(
    text: str,
    args: Mapping[str, str] | None = None,
    *,
    world: World | None = None,
    platform: Platform = AMD64,
    labels: Pairs = (),
    target: str = "",
) -> Lowered:
    """The text lowered for a machine of linux/amd64."""
    return lower(request_of(text, args, world)._replace(
        platform=platform, labels=labels, target=target
    ))  # fmt: skip


def request_of(
    text: str, args: Mapping[str, str] | None = None, world: World | None = None
) -> Request:
    """The request to lower the text for linux/amd64."""
    return Request(
        dockerfile=read_dockerfile(parse(text)),
        resolver=world or World(),
        platform=AMD64,
        build_platform=AMD64,
        build_args=args or {},
        created="2001-02-03T04:05:06Z",
    )


def problems_of(text: str, args: Mapping[str, str] | None = None, **how: str) -> list[Problem]:
    """The problems that lowering raises for the text; there are some."""
    try:
        lowered(text, args, **how)  # type: ignore[arg-type] # what lowered takes
    except Problems as raised:
        return list(raised.problems)
    raise AssertionError("nothing was wrong")


def history_of(result: Lowered) -> list[str]:
    """The lines of the image's history, those that made a layer with a + before them."""
    return [
        ("" if line.vertex is None else "+ ") + line.created_by
        for line in result.graph.image.layers
    ]


def commands_of(result: Lowered) -> list[ExecOp]:
    """The exec ops, in order."""
    return [vertex.op for vertex in result.graph.vertices if isinstance(vertex.op, ExecOp)]


def changes_of(result: Lowered) -> list[FileOp]:
    """The file ops, in order."""
    return [vertex.op for vertex in result.graph.vertices if isinstance(vertex.op, FileOp)]


def vertex_of(result: Lowered, name: str) -> Vertex:
    """The one vertex whose name holds the text."""
    (found,) = [vertex for vertex in result.graph.vertices if name in vertex.name]
    return found


def images_of(result: Lowered) -> list[tuple[str, Platform]]:
    """The images in the graph, by full name, and the platform each is wanted for."""
    return [
        (vertex.op.base.reference, vertex.op.platform)
        for vertex in result.graph.vertices
        if isinstance(vertex.op, ImageOp) and isinstance(vertex.op.base, RegistryBase)
    ]
