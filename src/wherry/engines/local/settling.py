# SPDX-License-Identifier: Apache-2.0
"""Making layers of what RUN steps changed, for an image that needs them.

Most of what RUN steps leave is only a root for other steps, and is never compressed.
"""

from __future__ import annotations

from dataclasses import replace

from wherry.engines.local.files import FileSteps
from wherry.engines.local.results import Built, Change, Slab
from wherry.engines.local.snapshot_files import LostChange
from wherry.engines.local.storage import Times, remember_written, store_change, written_layer
from wherry.fstree.layer_changes import LayerIndex
from wherry.fstree.layer_index import index_of_tree
from wherry.fstree.tree import make_tree
from wherry.oci.image import Layer
from wherry.process.cancel import CancelToken


def _index(shared: FileSteps, stack: tuple[Slab, ...], change: Change) -> LayerIndex:
    """What changed: from the snapshot, or from a layer that was written of it with other times."""
    try:
        return shared.roots.change_index(stack)
    except LostChange:
        layer = written_layer(shared.storage, change, shared.settings)
        if layer is None:
            raise
        return shared.roots.layer_index(layer)


def settled(shared: FileSteps, built: Built, cancel: CancelToken) -> Built:
    """The result with its change as a layer, written now unless it was before.

    Raises `BuildError` where the snapshot is gone or holds what no layer can, `Cancelled`.
    """
    change = built.change
    if change is None:
        return built
    layer = layer_of(shared, built.stack, shared.times, cancel)
    return replace(built, layers=(layer,), tree=layer.diff_id, unpacked=change.size, change=None)


def layer_of(
    shared: FileSteps, stack: tuple[Slab, ...], times: Times, cancel: CancelToken
) -> Layer:
    """The layer of the change on top of `stack`, with these times; written unless it was before.

    Raises as `settled`.
    """
    change = stack[-1]
    assert isinstance(change, Change)  # noqa: S101 - the callers' own
    storage, settings = shared.storage, shared.settings
    layer = written_layer(storage, change, settings, times.latest)
    if layer is None:
        index = _index(shared, stack, change)
        tree = make_tree(shared.roots.extracted(index.entries), index.whiteouts, index.opaque)
        layer = store_change(storage, tree, times, settings, cancel).layers[0]
        remember_written(storage, change, layer, settings, times.latest)
        if not index.whiteouts and not index.opaque:
            known = index_of_tree(tree, layer.descriptor, times.default, times.latest)
            shared.roots.remember(layer, known)
    return layer
