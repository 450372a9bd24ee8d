# SPDX-License-Identifier: Apache-2.0
"""What lies in the bases of images: asked only where something depends on it.

Files that an image gets are put through the base's links and take its users' ids; a dynamically
linked program needs its libraries; a directory `/app` of the base stays what it is. The layers of a
registry's base are fetched for that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wherry.api.ground import Ground
from wherry.api.lazy import fetcher
from wherry.api.program_place import names_directory
from wherry.api.registries import Registries
from wherry.bases.compose import base_tree
from wherry.engines.local.layer_indexes import LayerIndexes
from wherry.engines.local.roots import Roots
from wherry.errors import UsageError
from wherry.fstree.contents import open_content
from wherry.fstree.files import Files
from wherry.fstree.limits import Limits
from wherry.fstree.tree import File
from wherry.fstree.tree_files import TreeFiles
from wherry.graph.ops import ComposedBase, RegistryBase
from wherry.oci.image import Layer, load_image, parse_manifest
from wherry.store.store import Store

# /etc/passwd and /etc/group are never larger in earnest.
_SMALL = 16 << 20


class BaseFiles(NamedTuple):
    """The files of a base, and what reads a small one of them."""

    files: Files
    read: Callable[[File], bytes]


class BaseReader:
    """Reads the bases of one build, each once; where `is_plan`, raises `Unfetched` to fetch."""

    def __init__(self, store: Store, registries: Registries, *, is_plan: bool = False) -> None:
        self._is_plan = is_plan
        self._store = store
        self._registries = registries
        self._roots: Roots | None = None
        self._known: dict[ComposedBase | RegistryBase, BaseFiles] = {}

    def of(self, ground: Ground) -> BaseFiles:
        """The files of a base; raises `NetworkError` where its layers cannot be had."""
        base = ground.base
        if base not in self._known:
            self._known[base] = self._read(base)
        return self._known[base]

    def names_programs(self, base: RegistryBase) -> bool:
        """Whether a registry's base says that it has the directory of programs; fetches nothing."""
        manifest = self._store.blobs.read(base.digest)
        return names_directory(self._store.blobs.read(parse_manifest(manifest).config.digest))

    def layers(self, base: RegistryBase) -> tuple[Layer, ...]:
        """The layers of a registry's base, whose manifest is in the store."""
        manifest = self._store.blobs.read(base.digest)
        config = self._store.blobs.read(parse_manifest(manifest).config.digest)
        return load_image(manifest, config).layers

    @property
    def roots(self) -> Roots:
        """What reads stacks of layers."""
        if self._roots is None:
            self._roots = Roots(
                self._store,
                fetcher(self._store, self._registries, is_plan=self._is_plan),
                LayerIndexes(self._store, Limits()),
                self._registries.around.cancel,
            )
        return self._roots

    def _read(self, base: ComposedBase | RegistryBase) -> BaseFiles:
        if isinstance(base, RegistryBase):
            return BaseFiles(self.roots.view(self.layers(base)), self.roots.read)
        return BaseFiles(TreeFiles(base_tree(base)), _small)


def _small(file: File) -> bytes:
    if file.content.size > _SMALL:
        raise UsageError(f"/{file.path} of the base is too large to be read",
                         why=f"it has {file.content.size} bytes")  # fmt: skip
    with open_content(file.content) as stream:
        return stream.read(_SMALL)
