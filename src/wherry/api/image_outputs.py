# SPDX-License-Identifier: Apache-2.0
"""From what the engine made to the image as it is stored, told and recorded.

An image for several platforms is an OCI index of one manifest for each (OCI image specification,
image-index.md); an image for one platform is its manifest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from wherry.api.ground import Ground
from wherry.api.image_parts import go_parts
from wherry.api.planning import Wish
from wherry.api.recorded import Output
from wherry.api.request import BinaryResult
from wherry.engines.local.engine import Solved
from wherry.golang.record import Inputs
from wherry.graph.ops import RegistryBase
from wherry.oci.digest import sha256
from wherry.oci.image import Descriptor, Index

__all__ = ["Made", "MadePlatform", "made_output", "make_index"]


class MadePlatform(NamedTuple):
    """One platform of an image, and what it stands on."""

    solved: Solved
    ground: Ground


class Made(NamedTuple):
    """An image: its platforms in the order that was asked for, its index where there are several.

    `files` is what the files beside its programs depend on; `warnings` are lines that belong to it.
    """

    wish: Wish
    platforms: tuple[MadePlatform, ...]
    platform_index: Index | None
    files: Inputs | None = None
    warnings: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[Inputs | None, ...]:
        """What its programs and files depend on; None for each where that is unclear."""
        files = (self.files,) if self.files is not None else ()
        return files + tuple(
            built.inputs
            for platform in self.platforms
            for built in platform.solved.layers
            if built.binaries
        )


def make_index(platforms: tuple[MadePlatform, ...]) -> Index:
    """The index of an image's platforms, with the image's annotations."""
    manifests = tuple(item.solved.image.descriptor for item in platforms)
    shared = set.intersection(*(set(item.solved.image.manifest.annotations) for item in platforms))
    return Index(manifests, tuple(sorted(shared)))


def made_output(made: Made) -> Output:
    """What a record says of the image."""
    images = [item.solved.image for item in made.platforms]
    lazy: list[Descriptor] = []
    bases = []
    for item in made.platforms:
        if isinstance(item.ground.base, RegistryBase):
            lazy += [layer.descriptor for layer in item.solved.layers[0].layers]
        if item.ground.watched is not None:
            bases.append(item.ground.watched)
    roots = [image.descriptor for image in images]
    manifest, size = roots[0].digest, roots[0].size
    if made.platform_index is not None:
        encoded = made.platform_index.encoded()
        manifest, size = sha256(encoded), len(encoded)
        roots.append(Descriptor(made.platform_index.media_type, manifest, size))
    blobs = {
        item.digest: item
        for item in (
            *roots,
            *(part for image in images for part in (image.manifest.config, *image.manifest.layers)),
        )
    }
    return Output(
        name=made.wish.name,
        tags=made.wish.asked.tags,
        default_tag=made.wish.default_tag,
        bases=tuple(dict.fromkeys(bases)),
        manifest=str(manifest),
        manifest_size=size,
        config=str(images[0].manifest.config.digest) if made.platform_index is None else "",
        blobs=_sizes(item for item in blobs.values() if item not in lazy),
        lazy=_sizes(dict.fromkeys(lazy)),
        size=sum(item.size for item in blobs.values()),
        unpacked=_unpacked(made),
        platform=",".join(str(image.config.platform) for image in images),
        binaries=_binaries(made),
        warnings=made.warnings,
        parts=max(
            (go_parts(item.solved, item.ground.base) for item in made.platforms),
            key=lambda parts: sum(part.size for part in parts),
        ),
    )


def _unpacked(made: Made) -> int | None:
    """File sizes of the largest platform; None where a base's layers were not looked at."""
    sizes = []
    for item in made.platforms:
        parts = [layer.unpacked for layer in item.solved.layers]
        if None in parts:
            return None
        sizes.append(sum(filter(None, parts)))
    return max(sizes)


def _binaries(made: Made) -> tuple[BinaryResult, ...]:
    return tuple(
        BinaryResult(
            binary.name,
            binary.path,
            binary.size,
            binary.go_version,
            binary.dynamic,
            str(item.solved.image.config.platform),
        )
        for item in made.platforms
        for layer in item.solved.layers
        for binary in layer.binaries
    )


def _sizes(blobs: Iterable[Descriptor]) -> tuple[tuple[str, int], ...]:
    return tuple((str(item.digest), item.size) for item in blobs)
