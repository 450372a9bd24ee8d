# SPDX-License-Identifier: Apache-2.0
"""The executor of FilesOp: chosen files become a layer.

The files were read for their digests when they were chosen. If the store has the layer of an equal
tree they are not read again; else they are, and whatever is no longer what it was is an error.
"""

from __future__ import annotations

from dataclasses import dataclass

from wherry.engines.local.results import Result
from wherry.engines.local.storage import LayerSettings, Storage, store_layer
from wherry.fstree.tree import Tree
from wherry.graph.keys import CacheKey, definition_key
from wherry.graph.ops import FilesOp
from wherry.oci.digest import Digest
from wherry.solver.model import Step


def tree_digest(tree: Tree) -> Digest:
    """The digest for a FilesOp: of names, kinds, modes, owners, links, attributes and contents."""
    return tree.digest


@dataclass(frozen=True, slots=True)
class FilesOperation:
    """Stores the layer of the op's tree."""

    op: FilesOp
    storage: Storage
    settings: LayerSettings

    def definition(self, _inputs: tuple[Digest, ...]) -> CacheKey | None:
        """The op."""
        return definition_key(self.op, ())

    def content(self, _inputs: tuple[Result, ...]) -> CacheKey | None:
        """None: the definition says all."""
        return None

    def run(self, _inputs: tuple[Result, ...], step: Step) -> Result:
        """Write the layer, unless the store has it; raises `BuildError` for a file that changed."""
        tree: Tree = self.op.tree
        step.progress(0, len(tree.entries), "files")
        built = store_layer(self.storage, tree, self.op.mtime, self.settings, step.cancel)
        step.remark(f"{len(tree.entries)} files")
        return built
