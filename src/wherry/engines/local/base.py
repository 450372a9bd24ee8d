# SPDX-License-Identifier: Apache-2.0
"""The executors of ImageOp: a composed base becomes a layer, a registry's image gives its own.

A composed base's file times are always 1970: it does not change with the commit that is built on
it. Of a registry's image only manifest and config are read; its layers may stay where they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from wherry.bases.compose import base_tree
from wherry.bases.data import data_signature
from wherry.engines.local.results import Built, Result
from wherry.engines.local.storage import LayerSettings, Storage, store_layer
from wherry.graph.keys import CacheKey, definition_key
from wherry.graph.ops import ComposedBase, ImageOp, RegistryBase
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import HistoryEntry, Image, Layer, load_image, parse_manifest
from wherry.oci.media import as_oci
from wherry.solver.model import Step

_BASE_TIME = 0


@dataclass(frozen=True, slots=True)
class ComposedOperation:
    """Composes a base and stores its layer."""

    op: ImageOp
    base: ComposedBase
    storage: Storage
    settings: LayerSettings

    def definition(self, _inputs: tuple[Digest, ...]) -> CacheKey | None:
        """The op, and the state of the files that the base is composed from.

        Versions alone would miss a certificate that an administrator added.
        """
        return definition_key(self.op, (sha256(data_signature().encode()),))

    def content(self, _inputs: tuple[Result, ...]) -> CacheKey | None:
        """None: `store_layer` looks the composed tree up by its own digest."""
        return None

    def run(self, _inputs: tuple[Result, ...], step: Step) -> Result:
        """Compose the tree and write its layer."""
        tree = base_tree(self.base)
        step.progress(0, len(tree.entries), "files")
        built = store_layer(self.storage, tree, _BASE_TIME, self.settings, step.cancel)
        step.remark(f"{len(tree.entries)} files")
        return built


@dataclass(frozen=True, slots=True)
class EmptyOperation:
    """The empty root that a stage from scratch begins with: no layer at all."""

    op: ImageOp

    def definition(self, _inputs: tuple[Digest, ...]) -> CacheKey | None:
        """The op."""
        return definition_key(self.op, ())

    def content(self, _inputs: tuple[Result, ...]) -> CacheKey | None:
        """None: there is no work to spare."""
        return None

    def run(self, _inputs: tuple[Result, ...], _step: Step) -> Result:
        """No layers."""
        return Built((), 0)


@dataclass(frozen=True, slots=True)
class RegistryOperation:
    """Takes the layers of an image whose manifest and config are in the store."""

    op: ImageOp
    base: RegistryBase
    storage: Storage

    def definition(self, _inputs: tuple[Digest, ...]) -> CacheKey | None:
        """The op: its digest says all. The result is never recorded, being two small reads."""
        return definition_key(self.op, ())

    def content(self, _inputs: tuple[Result, ...]) -> CacheKey | None:
        """None, as above."""
        return None

    def run(self, _inputs: tuple[Result, ...], step: Step) -> Result:
        """The image's layers and history, under OCI media types."""
        manifest = self.storage.blobs.read(self.base.digest)
        config = self.storage.blobs.read(parse_manifest(manifest).config.digest)
        image = load_image(manifest, config)
        layers = tuple(
            replace(layer, descriptor=replace(descriptor, media_type=as_oci(descriptor.media_type)))
            for layer in image.layers
            for descriptor in (layer.descriptor,)
        )
        step.remark(f"{sum(layer.descriptor.size for layer in layers) / 1e6:.1f} MB compressed")
        return Built(layers, None, history=_history(image, layers, self.base))


def _history(
    image: Image, layers: tuple[Layer, ...], base: RegistryBase
) -> tuple[HistoryEntry, ...]:
    """The image's own history, or one line for each layer where it has none that fits."""
    own = image.config.history
    if sum(not entry.empty for entry in own) == len(layers):
        return own
    created = image.config.created
    return tuple(HistoryEntry(created, f"layer of {base.reference}") for _ in layers)
