# SPDX-License-Identifier: Apache-2.0
"""The executor of ImageOp: a composed base becomes a layer.

Its file times are always 1970: a base does not change with the commit that is built on it.
"""

from __future__ import annotations

from dataclasses import dataclass

from wherry.bases.compose import base_tree
from wherry.bases.data import data_signature
from wherry.engines.local.results import Built
from wherry.engines.local.storage import LayerSettings, Storage, store_layer
from wherry.graph.keys import CacheKey, definition_key
from wherry.graph.ops import ImageOp
from wherry.oci.digest import Digest, sha256
from wherry.solver.model import Step

_BASE_TIME = 0


@dataclass(frozen=True, slots=True)
class ImageOperation:
    """Composes a base and stores its layer."""

    op: ImageOp
    storage: Storage
    settings: LayerSettings

    def definition(self, _inputs: tuple[Digest, ...]) -> CacheKey | None:
        """The op, and the state of the files that the base is composed from.

        Versions alone would miss a certificate that an administrator added.
        """
        return definition_key(self.op, (sha256(data_signature().encode()),))

    def content(self, _inputs: tuple[Built, ...]) -> CacheKey | None:
        """None: `store_layer` looks the composed tree up by its own digest."""
        return None

    def run(self, _inputs: tuple[Built, ...], step: Step) -> Built:
        """Compose the tree and write its layer."""
        tree = base_tree(self.op.base)
        step.progress(0, len(tree.entries), "files")
        built = store_layer(self.storage, tree, _BASE_TIME, self.settings, step.cancel)
        step.remark(f"{len(tree.entries)} files")
        return built
