# SPDX-License-Identifier: Apache-2.0
"""Roots as values: what the files of a stack of layers are, and their contents where needed.

No root is unpacked. The index of a layer (names, owners, modes, digests, where contents lie in its
tar) is made once and kept in the store; a root is the view of the indexes of its layers. Owners and
modes are data, so none of this needs a privilege.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import BinaryIO, Final

from wherry.engines.local.results import root_digest
from wherry.engines.local.storage import Fetch, Storage
from wherry.errors import MachineError, UsageError
from wherry.fstree.contents import open_content
from wherry.fstree.decompress import VerifiedDiff, decompressed
from wherry.fstree.extract import extract
from wherry.fstree.layer_index import LayerIndex, decode_index, encode_index, read_index
from wherry.fstree.limits import Limits
from wherry.fstree.tree import Content, Entry, File, InLayer
from wherry.fstree.view import View
from wherry.oci.digest import Digest, parse_digest
from wherry.oci.image import Layer
from wherry.process.cancel import CancelToken

_KIND: Final = "layerindex/1"
_BUFFER: Final = 1 << 18
# What a lookup of names reads: /etc/passwd and /etc/group are never larger in earnest.
_SMALL: Final = 16 << 20


class Roots:
    """The roots of one solve; safe for threads.

    `fetch` brings the bytes of lazy layers into the store; raises `NetworkError`.
    """

    def __init__(self, storage: Storage, fetch: Fetch, limits: Limits, cancel: CancelToken) -> None:
        self._storage = storage
        self._fetch = fetch
        self._limits = limits
        self._cancel = cancel
        # One index is made at a time: two steps on one base would both make it.
        self._lock = threading.Lock()
        self._views: dict[Digest, View] = {}
        self._indexes: dict[Digest, LayerIndex] = {}
        self._layers: dict[Digest, Layer] = {}

    def view(self, layers: tuple[Layer, ...]) -> View:
        """The root that these layers make, lowest first.

        Raises `UsageError` for a layer that is damaged or hostile, `NetworkError` where one cannot
        be fetched, `Cancelled`.
        """
        with self._lock:
            return self._view(layers)

    def remember(self, layer: Layer, index: LayerIndex) -> None:
        """Take note of a layer that was just written, whose contents are known."""
        with self._lock:
            self._indexes[layer.diff_id] = index
            self._layers[layer.descriptor.digest] = layer
            self._keep(layer, index)

    def read(self, file: File) -> bytes:
        """The content of a small file of a root, such as /etc/passwd."""
        if file.content.size > _SMALL:
            raise UsageError(f"/{file.path} of the image is too large to be read",
                             why=f"it has {file.content.size} bytes")  # fmt: skip
        content = file.content
        if isinstance(content, InLayer):
            content = self._extracted((content,))[content]
        with open_content(content) as stream:
            return stream.read(_SMALL)

    def extracted(self, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        """The entries, with contents that lie in layers where a layer's writer can read them."""
        entries = tuple(entries)
        wanted = {
            entry.content
            for entry in entries
            if isinstance(entry, File) and isinstance(entry.content, InLayer)
        }
        if not wanted:
            return entries
        found = self._extracted(wanted)
        return tuple(
            replace(entry, content=found[entry.content])
            if isinstance(entry, File) and isinstance(entry.content, InLayer)
            else entry
            for entry in entries
        )

    def _extracted(self, wanted: Iterable[InLayer]) -> dict[InLayer, Content]:
        return extract(self._open, wanted, self._storage.scratch(), self._cancel)

    def _view(self, layers: tuple[Layer, ...]) -> View:
        if not layers:
            return View.empty()
        digest = root_digest(layers)
        found = self._views.get(digest)
        if found is None:
            # From the nearest root that is known: recursion would be as deep as the stack.
            length = len(layers) - 1
            while length and root_digest(layers[:length]) not in self._views:
                length -= 1
            found = self._views[root_digest(layers[:length])] if length else View.empty()
            for number in range(length, len(layers)):
                found = found.with_layer(self._index(layers[number]))
                self._views[root_digest(layers[: number + 1])] = found
        return found

    def _index(self, layer: Layer) -> LayerIndex:
        self._layers.setdefault(layer.descriptor.digest, layer)
        found = self._indexes.get(layer.diff_id) or self._kept(layer)
        if found is None:
            found = self._read(layer)
            self._keep(layer, found)
        self._indexes[layer.diff_id] = found
        return found

    def _kept(self, layer: Layer) -> LayerIndex | None:
        value = self._storage.records.get(_KIND, layer.diff_id.hex)
        if value is None:
            return None
        digest = parse_digest(value.decode())
        if not self._storage.blobs.has(digest):
            return None
        try:
            return decode_index(self._storage.blobs.read(digest), layer.descriptor)
        except MachineError:
            # Damaged: it can be made again.
            return None

    def _keep(self, layer: Layer, index: LayerIndex) -> None:
        digest = self._storage.blobs.put(encode_index(index))
        self._storage.records.put(_KIND, layer.diff_id.hex, str(digest).encode(), (digest,))

    def _read(self, layer: Layer) -> LayerIndex:
        self._fetch((layer,))
        with self._storage.blobs.open(layer.descriptor.digest) as blob:
            tar = decompressed(blob, layer.descriptor.media_type)
            verified = VerifiedDiff(tar, layer.diff_id, self._cancel)
            stream = io.BufferedReader(verified, _BUFFER)
            index = read_index(stream, layer.descriptor, self._limits)
            verified.finish()
        return index

    def _open(self, digest: Digest) -> BinaryIO:
        layer = self._layers.get(digest)
        if layer is not None:
            self._fetch((layer,))
        return self._storage.blobs.open(digest)
