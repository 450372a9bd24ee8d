# SPDX-License-Identifier: Apache-2.0
"""Two images of the store compared: their trees, what they run, how large they are.

Nothing is unpacked. Layers of a base that stayed in their registry are fetched, once, for their
names.
"""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from wherry.advice.reading.secret_values import hidden
from wherry.api.lazy import fetcher
from wherry.api.registries import Registries
from wherry.engines.local.layer_indexes import LayerIndexes
from wherry.engines.local.roots import Roots
from wherry.frontends.dockerfile.advice import is_secret
from wherry.fstree.differences import Difference, differences
from wherry.fstree.limits import Limits
from wherry.fstree.tree import File
from wherry.oci.digest import parse_digest
from wherry.oci.image import Image, RunConfig, load_image, parse_manifest
from wherry.store.store import Store

_INSTRUCTIONS: Final = {
    "user": "USER", "entrypoint": "ENTRYPOINT", "cmd": "CMD", "working_dir": "WORKDIR",
    "stop_signal": "STOPSIGNAL", "healthcheck": "HEALTHCHECK", "shell": "SHELL",
}  # fmt: skip
_LISTS: Final = {
    "env": "ENV", "exposed_ports": "EXPOSE", "volumes": "VOLUME", "labels": "LABEL",
    "on_build": "ONBUILD",
}  # fmt: skip


class ConfigDifference(NamedTuple):
    """What one instruction comes to in both images; empty where an image says nothing of it.

    Of instructions that add up (ENV, EXPOSE, ...), only what is not in both.
    """

    instruction: str
    before: str
    after: str


class Comparison(NamedTuple):
    """In what two images differ; how large the files of their layers are, in bytes."""

    files: tuple[Difference, ...]
    config: tuple[ConfigDifference, ...]
    unpacked: tuple[int, int]


class ImageComparer:
    """Compares images of one store, which stays open; what it reads is read once."""

    def __init__(self, store: Store, registries: Registries) -> None:
        self._store = store
        self._roots = Roots(
            store,
            fetcher(store, registries),
            LayerIndexes(store, Limits()),
            registries.around.cancel,
        )

    def compare(self, before: str, after: str) -> Comparison:
        """Compare two images by their manifests' digests; the largest difference comes first.

        Raises `NetworkError` where a layer cannot be had, `UsageError` for one that is damaged.
        """
        one, other = self._load(before), self._load(after)
        views = self._roots.view(one.layers), self._roots.view(other.layers)
        found = sorted(differences(*views), key=lambda item: (-item.weight, item.path))
        config = config_differences(one.config.run, other.config.run)
        return Comparison(tuple(found), config, (self._unpacked(one), self._unpacked(other)))

    def unpacked(self, digest: str) -> int:
        """The sum of the sizes of all files in an image's layers; raises as `compare`."""
        return self._unpacked(self._load(digest))

    def _load(self, digest: str) -> Image:
        manifest = self._store.blobs.read(parse_digest(digest))
        config = self._store.blobs.read(parse_manifest(manifest).config.digest)
        return load_image(manifest, config)

    def _unpacked(self, image: Image) -> int:
        return sum(
            entry.content.size
            for layer in image.layers
            for entry in self._roots.layer_index(layer).entries
            if isinstance(entry, File)
        )


def config_differences(before: RunConfig, after: RunConfig) -> tuple[ConfigDifference, ...]:
    """In what two run configurations differ, in the order of people's interest.

    Values that look secret are stars.
    """
    found = []
    for field, instruction in _INSTRUCTIONS.items():
        one, other = _text(getattr(before, field)), _text(getattr(after, field))
        if one != other:
            found.append(ConfigDifference(instruction, hidden(one), hidden(other)))
    for field, instruction in _LISTS.items():
        mine, theirs = _items(getattr(before, field)), _items(getattr(after, field))
        only = [item for item in mine if item not in theirs]
        others = [item for item in theirs if item not in mine]
        if only or others:
            told = [hidden(" ".join(map(_shown, items))) for items in (only, others)]
            found.append(ConfigDifference(instruction, *told))
    return tuple(found)


def _text(value: str | tuple[str, ...]) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(list(value), ensure_ascii=False) if value else ""


def _items(values: tuple[str | tuple[str, str], ...]) -> list[str]:
    return [item if isinstance(item, str) else "=".join(item) for item in values]


def _shown(item: str) -> str:
    """A pair without its value where its name says that it is secret: it may have blanks in it."""
    name, equals, _ = item.partition("=")
    return f"{name}=***" if equals and is_secret(name) else item
