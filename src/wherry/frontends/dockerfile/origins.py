# SPDX-License-Identifier: Apache-2.0
"""Where files come from that no stage made: the build context, further contexts, images.

A further context that has the name of an image or a stage stands for that one (`--build-context`).
"""

from __future__ import annotations

from typing import NamedTuple, assert_never

from wherry.errors import WherryError
from wherry.frontends.dockerfile.building import Vertices
from wherry.frontends.dockerfile.configure import Config, from_scratch, of_image
from wherry.frontends.dockerfile.notes import Notes
from wherry.frontends.dockerfile.request import (
    BaseImage,
    NamedContext,
    NamedDirectory,
    NamedGit,
    NamedHttp,
    NamedImage,
    Request,
)
from wherry.frontends.dockerfile.source import Range
from wherry.frontends.dockerfile.stages import SCRATCH, Stages, familiar_name
from wherry.graph.build import Lines, Vertex
from wherry.graph.ops import GitOp, HttpOp, ImageOp, LocalOp, RegistryBase
from wherry.oci.image import RunConfig
from wherry.oci.platform import Platform

# The names that no further context can have.
_TAKEN = (SCRATCH, "context")
# The file that a context from a URL holds.
_HTTP_NAME = "context"


class Origin(NamedTuple):
    """Files from outside: the op that brings them (None: there are none), and a configuration.

    `label` is what the user reads. `config` is None for a context that is no image.
    """

    op: ImageOp | LocalOp | GitOp | HttpOp | None
    label: str
    config: Config | None = None


class Origins:
    """The origins of one build; what is asked twice is looked up once."""

    def __init__(self, request: Request, stages: Stages, vertices: Vertices, notes: Notes) -> None:
        self._request = request
        self._stages = stages
        self._vertices = vertices
        self._notes = notes
        self._context: int | None = None
        self._images: dict[tuple[str, Platform], Origin] = {}
        self._contexts: dict[tuple[str, Platform], NamedContext | None] = {}

    def context(self) -> int:
        """The main build context."""
        if self._context is None:
            op = LocalOp("context", self._request.ignore, self._request.context_place)
            self._context = self._vertices.add(Vertex(op, (), "load build context"))
        return self._context

    def vertex(self, origin: Origin, platform: Platform, place: Range) -> int:
        """The vertex of files that are copied or mounted, without a step of a stage."""
        if origin.op is None:
            return self._vertices.scratch(platform)
        name = f"FROM {origin.label}" if isinstance(origin.op, ImageOp) else origin.label
        return self._vertices.add(Vertex(origin.op, (), name, Lines(*place.lines)))

    def stage(self, name: str, platform: Platform, place: Range) -> Origin | None:
        """The further context that stands for a stage; None where there is none."""
        found = self._context_named(name, platform, place) if name else None
        return None if found is None else _of_context(found, name, platform)

    def image(self, image: str, platform: Platform, place: Range) -> Origin:
        """An image, or the further context that stands for it; raises what the resolver does."""
        key = (image, platform)
        if key not in self._images:
            self._images[key] = self._find(image, platform, place)
        return self._images[key]

    def _find(self, image: str, platform: Platform, place: Range) -> Origin:
        if image == SCRATCH:
            return Origin(None, SCRATCH, from_scratch(platform))
        found = self._context_named(image, platform, place)
        if found is not None:
            origin = _of_context(found, familiar_name(image), platform)
            # A context that is no image has the configuration of an empty one.
            return origin._replace(config=origin.config or from_scratch(platform))
        try:
            base = self._request.resolver.image(image, platform)
        except WherryError as error:
            self._place(error, place)
            error.hint = self._stages.near(image) or error.hint
            raise
        self._check_platform(image, platform, base, place)
        return _of_image(base, platform)

    def _context_named(self, name: str, platform: Platform, place: Range) -> NamedContext | None:
        if name.lower() in _TAKEN:
            return None
        key = (name, platform)
        if key not in self._contexts:
            resolver = self._request.resolver
            try:
                familiar = familiar_name(name)
                found = resolver.named(f"{familiar}::{platform}", platform)
                found = resolver.named(familiar, platform) if found is None else found
            except WherryError as error:
                self._place(error, place)
                raise
            self._contexts[key] = found
        return self._contexts[key]

    def _place(self, error: WherryError, place: Range) -> None:
        if not error.where:
            error.where = f"{self._request.file}:{place.start.line}"

    def _check_platform(self, image: str, asked: Platform, base: BaseImage, place: Range) -> None:
        found = base.platform
        if (asked.os, asked.architecture) != (found.os, found.architecture):
            self._notes.warn(
                "InvalidBaseImagePlatform",
                f"{image} is for {found}, not for {asked}",
                place,
                f"write FROM --platform={found}, or choose another image",
            )


def _of_image(base: BaseImage, platform: Platform) -> Origin:
    op = ImageOp(RegistryBase(base.digest, base.reference), (), platform)
    return Origin(op, f"{base.reference}@{base.digest}", of_image(base))


def _of_context(context: NamedContext, name: str, platform: Platform) -> Origin:
    label = f"[context {name}] load"
    match context:
        case NamedImage(base):
            return Origin(None, SCRATCH) if base is None else _of_image(base, platform)
        case NamedDirectory():
            return Origin(LocalOp(context.name, context.ignore, context.place), label)
        case NamedGit():
            return Origin(GitOp(*context), label)
        case NamedHttp(url):
            return Origin(HttpOp(url, "", _HTTP_NAME), label)
        case _:
            assert_never(context)


def empty_config(platform: Platform) -> Config:
    """The configuration of a stage that a context without one stands for."""
    return Config(platform, RunConfig())
