# SPDX-License-Identifier: Apache-2.0
"""An image of the store with everything that its manifest or index names, as values."""

from __future__ import annotations

from typing import NamedTuple

from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor, Manifest, parse_index, parse_manifest
from wherry.oci.media import is_index, is_manifest
from wherry.registry.model import RawManifest
from wherry.store.store import Store


class StoredImage(NamedTuple):
    """An image as stored: its root, the manifests below an index (children before parents), and
    all image manifests, read."""

    root: RawManifest
    children: tuple[RawManifest, ...]
    manifests: tuple[Manifest, ...]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Configs and layers, each once."""
        found = [
            item for manifest in self.manifests for item in (manifest.config, *manifest.layers)
        ]
        return tuple({item.digest: item for item in found}.values())


def stored_image(store: Store, root: Descriptor) -> StoredImage:
    """Read an image's manifests from the store.

    Raises `MachineError` where one is missing or damaged, `UsageError` where one is no manifest.
    """
    data = store.blobs.read(root.digest)
    raw = RawManifest(root, data)
    if not is_index(root.media_type):
        return StoredImage(raw, (), (parse_manifest(data),))
    children: list[RawManifest] = []
    manifests: list[Manifest] = []
    seen: set[Digest] = set()
    for entry in parse_index(data).manifests:
        # What else an index may list is nobody's image, and was not pulled.
        known = is_index(entry.media_type) or is_manifest(entry.media_type)
        if entry.digest in seen or not known:
            continue
        seen.add(entry.digest)
        below = stored_image(store, entry)
        children.extend((*below.children, below.root))
        manifests.extend(below.manifests)
    return StoredImage(raw, tuple(children), tuple(manifests))
