# SPDX-License-Identifier: Apache-2.0
"""Roots as values: what the files of a stack of layers are, and their contents where needed.

No root is unpacked. The index of a layer (names, owners, modes, digests, where contents lie in its
tar) is made once and kept in the store; a root is the view of the indexes of its layers. Owners and
modes are data, so none of this needs a privilege. What a RUN changed is read from its snapshot, by
the namespace worker, until a layer is made of it.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import BinaryIO, Final, Protocol

from wherry.engines.local.layer_indexes import LayerIndexes
from wherry.engines.local.results import Change, Slab, root_digest
from wherry.engines.local.storage import Fetch, Storage
from wherry.errors import InternalError, UsageError
from wherry.fstree.contents import open_content
from wherry.fstree.decompress import VerifiedDiff, decompressed
from wherry.fstree.extract import extract
from wherry.fstree.layer_index import LayerIndex, read_index
from wherry.fstree.limits import Limits
from wherry.fstree.tree import Content, Entry, File, InLayer
from wherry.fstree.view import View
from wherry.oci.digest import Digest
from wherry.oci.image import Layer
from wherry.process.cancel import CancelToken

_BUFFER: Final = 1 << 18
# What a lookup of names reads: /etc/passwd and /etc/group are never larger in earnest.
_SMALL: Final = 16 << 20


class ChangeReader(Protocol):
    """Reads what a RUN changed."""

    def index(self, stack: tuple[Slab, ...], below: Callable[[], View]) -> LayerIndex:
        """The change on top of `stack` as the layer that it would be, on the root `below`."""


class Roots:
    """The roots of one solve; safe for threads.

    `fetch` brings the bytes of lazy layers into the store; raises `NetworkError`. `written` gives
    the layer that was made of a change, if there is one.
    """

    def __init__(
        self,
        storage: Storage,
        fetch: Fetch,
        kept: LayerIndexes,
        cancel: CancelToken,
        changes: ChangeReader | None = None,
        written: Callable[[Change], Layer | None] = lambda _change: None,
    ) -> None:
        self._storage = storage
        self._changes = changes
        self._written = written
        self._fetch = fetch
        self._kept = kept
        self._cancel = cancel
        # One index is made at a time: two steps on one base would both make it.
        self._lock = threading.Lock()
        self._views: dict[Digest, View] = {}
        self._indexes: dict[Digest, LayerIndex] = {}
        self._layers: dict[Digest, Layer] = {}

    def view(self, slabs: tuple[Slab, ...]) -> View:
        """The root that these make, lowest first.

        Raises `UsageError` for a layer that is damaged or hostile, `NetworkError` where one cannot
        be fetched, `Cancelled`.
        """
        with self._lock:
            return self._view(slabs)

    def change_index(self, stack: tuple[Slab, ...]) -> LayerIndex:
        """The change on top of `stack`, with contents that can be read; raises as `view`."""
        return self._read_change(stack, lambda: self.view(stack[:-1]))

    def layer_index(self, layer: Layer) -> LayerIndex:
        """What a layer changes; raises as `view`."""
        with self._lock:
            return self._index(layer)

    def remember(self, layer: Layer, index: LayerIndex) -> None:
        """Take note of a layer that was just written, whose contents are known."""
        with self._lock:
            self._indexes[layer.diff_id] = index
            self._layers[layer.descriptor.digest] = layer
            self._kept.keep(layer, index)

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

    def _view(self, slabs: tuple[Slab, ...]) -> View:
        if not slabs:
            return View.empty()
        digest = root_digest(slabs)
        found = self._views.get(digest)
        if found is None:
            # From the nearest root that is known: recursion would be as deep as the stack.
            length = len(slabs) - 1
            while length and root_digest(slabs[:length]) not in self._views:
                length -= 1
            found = self._views[root_digest(slabs[:length])] if length else View.empty()
            for number in range(length, len(slabs)):
                stack = slabs[: number + 1]
                if root_digest(stack) not in self._views:
                    self._views[root_digest(stack)] = found.with_layer(
                        self._slab_index(stack, found)
                    )
                found = self._views[root_digest(stack)]
        return found

    def _slab_index(self, stack: tuple[Slab, ...], below: View) -> LayerIndex:
        top = stack[-1]
        if isinstance(top, Layer):
            return self._index(top)
        layer = self._written(top)
        if layer is not None:
            return self._index(layer)
        return self._read_change(stack, lambda: below)

    def _read_change(self, stack: tuple[Slab, ...], below: Callable[[], View]) -> LayerIndex:
        top = stack[-1]
        if isinstance(top, Change) and top.empty:
            return LayerIndex(())
        if self._changes is None:
            raise InternalError("a root holds what a RUN changed, and nothing here can read it")
        return self._changes.index(stack, below)

    def _index(self, layer: Layer) -> LayerIndex:
        self._layers.setdefault(layer.descriptor.digest, layer)
        found = self._indexes.get(layer.diff_id) or self._kept.find(layer)
        if found is None:
            found = self._read(layer)
            self._kept.keep(layer, found)
        self._indexes[layer.diff_id] = found
        return found

    def _read(self, layer: Layer) -> LayerIndex:
        self._fetch((layer,))
        return _read(self._storage, layer, self._kept.limits, self._cancel)

    def _open(self, digest: Digest) -> BinaryIO:
        layer = self._layers.get(digest)
        if layer is not None:
            self._fetch((layer,))
        return self._storage.blobs.open(digest)


def check_layer(storage: Storage, layer: Layer, cancel: CancelToken) -> None:
    """Read a layer that is in the store; raises `UsageError` where it is not what it says."""
    _read(storage, layer, Limits(), cancel)


def _read(storage: Storage, layer: Layer, limits: Limits, cancel: CancelToken) -> LayerIndex:
    with storage.blobs.open(layer.descriptor.digest) as blob:
        tar = decompressed(blob, layer.descriptor.media_type)
        verified = VerifiedDiff(tar, layer.diff_id, cancel)
        stream = io.BufferedReader(verified, _BUFFER)
        index = read_index(stream, layer.descriptor, limits)
        verified.finish()
    return index
