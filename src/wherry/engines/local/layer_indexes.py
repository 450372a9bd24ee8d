# SPDX-License-Identifier: Apache-2.0
"""The indexes of layers that the store keeps, each made once: by who unpacks or reads the layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wherry.engines.local.storage import Storage
from wherry.errors import MachineError
from wherry.fstree.limits import Limits
from wherry.oci.digest import Digest, parse_digest
from wherry.oci.image import Layer

if TYPE_CHECKING:
    from wherry.fstree.layer_changes import LayerIndex

_KIND: Final = "layerindex/1"


class LayerIndexes:
    """Indexes by the layers' diff IDs.

    Whoever makes one of a layer from elsewhere holds it to `limits` as it reads; nothing here does.
    """

    def __init__(self, storage: Storage, limits: Limits) -> None:
        self.limits = limits
        self._storage = storage

    def has(self, layer: Layer) -> bool:
        """Whether an index of the layer is there."""
        return self._place(layer) is not None

    def find(self, layer: Layer) -> LayerIndex | None:
        """The index of a layer, None where there is none that can be read."""
        from wherry.fstree.layer_columns import decode_index  # noqa: PLC0415 - not if unchanged

        place = self._place(layer)
        if place is None:
            return None
        try:
            return decode_index(self._storage.blobs.read(place), layer.descriptor)
        except MachineError:
            # Damaged: it can be made again.
            return None

    def keep(self, layer: Layer, index: LayerIndex) -> None:
        """Keep the index of a layer."""
        from wherry.fstree.layer_columns import encode_index  # noqa: PLC0415 - as above

        self.keep_encoded(layer, encode_index(index))

    def keep_encoded(self, layer: Layer, data: bytes) -> None:
        """Keep an index that `encode_index` has made bytes of."""
        digest = self._storage.blobs.put(data)
        self._storage.records.put(_KIND, layer.diff_id.hex, str(digest).encode(), (digest,))

    def _place(self, layer: Layer) -> Digest | None:
        value = self._storage.records.get(_KIND, layer.diff_id.hex)
        if value is None:
            return None
        digest = parse_digest(value.decode())
        return digest if self._storage.blobs.has(digest) else None
