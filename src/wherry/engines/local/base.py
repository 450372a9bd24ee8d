# SPDX-License-Identifier: Apache-2.0
"""The executor of ImageOp: a composed base becomes a layer.

Its file times are always 1970: a base does not change with the commit that is built on it.
"""

from __future__ import annotations

from dataclasses import dataclass

from wherry.bases.compose import base_tree
from wherry.engines.local.results import Built
from wherry.engines.local.storage import LayerSettings, Storage, store_layer
from wherry.graph.keys import CacheKey, content_key
from wherry.graph.ops import ImageOp
from wherry.oci.digest import Digest
from wherry.solver.model import Step

_BASE_TIME = 0


@dataclass(frozen=True, slots=True)
class ImageOperation:
    """Composes a base and stores its layer."""

    op: ImageOp
    storage: Storage
    settings: LayerSettings

    def definition(self, _inputs: tuple[Digest, ...]) -> CacheKey | None:
        """None: the data on disk may be other than its version says, with a CA added to it."""
        return None

    def content(self, _inputs: tuple[Built, ...]) -> CacheKey | None:
        """The op and the composed tree: composing is cheap, writing the layer is not."""
        return content_key(self.op, (base_tree(self.op.base).digest,))

    def run(self, _inputs: tuple[Built, ...], step: Step) -> Built:
        """Compose the tree and write its layer."""
        tree = base_tree(self.op.base)
        step.progress(0, len(tree.entries), "files")
        built = store_layer(self.storage, tree, _BASE_TIME, self.settings, step.cancel)
        step.remark(f"{len(tree.entries)} files")
        return built
