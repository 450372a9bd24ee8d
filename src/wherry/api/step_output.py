# SPDX-License-Identifier: Apache-2.0
"""The image of a Dockerfile as delivery wants to know it."""

from __future__ import annotations

from collections.abc import Iterable

from wherry.api.image_parts import step_parts
from wherry.api.recorded import Output
from wherry.api.step_solving import made_layers
from wherry.engines.local.engine import Solved
from wherry.graph.build import BuildGraph
from wherry.oci.image import Descriptor
from wherry.store.store import Store


def step_output(name: str, graph: BuildGraph, solved: Solved, store: Store) -> Output:
    """What is to be known of an image called `name`; of the layers that are not here, the source
    is."""
    image = solved.image
    documents = (image.descriptor, image.manifest.config)
    made = tuple(dict.fromkeys(made_layers(solved)))
    here = tuple(item for item in made if store.blobs.has(item.digest, item.size))
    lazy = tuple(item for item in made if item not in here)
    unpacked = [layer.unpacked for layer in solved.layers]
    return Output(
        name=name,
        tags=(),
        default_tag=f"{name}:latest",
        bases=(),
        manifest=str(image.digest),
        manifest_size=len(image.manifest_bytes),
        config=str(image.manifest.config.digest),
        blobs=_sizes((*documents, *here)),
        lazy=_sizes((*_base_layers(solved), *lazy)),
        size=sum(item.size for item in (*documents, *image.manifest.layers)),
        unpacked=None if None in unpacked else sum(filter(None, unpacked)),
        platform=str(image.config.platform),
        binaries=(),
        warnings=(),
        parts=step_parts(graph, solved),
    )


def _base_layers(solved: Solved) -> tuple[Descriptor, ...]:
    """The layers of images, which may be lazy."""
    bases = (built for built in solved.layers if built.tree is None)
    return tuple(layer.descriptor for base in bases for layer in base.layers)


def _sizes(blobs: Iterable[Descriptor]) -> tuple[tuple[str, int], ...]:
    return tuple((str(item.digest), item.size) for item in blobs)
