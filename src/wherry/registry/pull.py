# SPDX-License-Identifier: Apache-2.0
"""Images from repositories: first the JSON, then layers by digest (OCI distribution 1.1, "Pull").

A child manifest has to have the digest, size and media type that its index states, a config those
that its manifest states; nothing reaches the store before the whole image has been found sound.
What the store has is not asked for again: a digest whose documents are all there costs no request.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, Protocol

from wherry.errors import NetworkError
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor, Image, Manifest
from wherry.oci.media import is_foreign, is_index, is_manifest
from wherry.oci.platform import Platform
from wherry.process.cancel import CancelToken
from wherry.registry.choose import DEEPEST, choose, is_attestation
from wherry.registry.documents import (
    CONFIG_LIMIT,
    MOST_MANIFESTS,
    is_image_config,
    parse_image,
    parse_index,
    parse_manifest,
    parse_purpose,
    refuse,
)
from wherry.registry.model import BlobStore, Progress, RawManifest, no_progress
from wherry.registry.reader import DocumentReader, DocumentStore, ManifestSource
from wherry.registry.together import Halt, map_together, run_together, streams

_MOST_KINDS = 5
_WORKERS = 4  # for documents, which are small: more would only knock at the registry's limits


class LayerSource(Protocol):
    """What fetching layers needs of a repository."""

    @property
    def full_name(self) -> str:
        """Registry and repository, for messages."""

    def fetch_blob(self, descriptor: Descriptor, store: BlobStore, progress: Progress) -> None:
        """Put the verified blob into `store`."""


class PulledImage(NamedTuple):
    """The image of one platform; `descriptor` is the index's entry where there is an index."""

    descriptor: Descriptor
    manifest: RawManifest
    config: bytes
    image: Image

    @property
    def platform(self) -> Platform:
        """What the image's own config says that it is for."""
        return self.image.config.platform


class Pulled(NamedTuple):
    """All JSON of an image, which is in the store: manifests and configs.

    `manifests` begins with the root and has indexes before what they list. `blobs` are the configs
    and layers that the manifests name, each once, with those of attestations and of artifacts that
    an index lists beside its images.
    """

    root: Descriptor
    images: tuple[PulledImage, ...]
    manifests: tuple[RawManifest, ...]
    blobs: tuple[Descriptor, ...]


class _Leaf(NamedTuple):
    """A manifest below an index, or one that no index leads to, and its name for messages."""

    name: str
    raw: RawManifest
    manifest: Manifest
    is_image: bool


def pull_manifests(
    repository: ManifestSource,
    wanted: str,
    platform: Platform | None,
    store: DocumentStore,
    cancel: CancelToken,
) -> Pulled:
    """The JSON of a tag or digest: of the best image for `platform`, or of all where it is None.

    A manifest that no index leads to is taken whatever it is for: compare `PulledImage.platform`.
    Raises `NetworkError` for what cannot be had or is unsound, `UsageError` where an index has
    nothing for `platform`, `Cancelled`.
    """
    reader = DocumentReader(repository, store, cancel)
    root = reader.root(wanted)
    if not is_index(root.descriptor.media_type):
        manifests = [root]
    elif platform is None:
        manifests = _everything(reader, root, Halt(cancel))
    else:
        manifests = _one(reader, root, platform, reader.name(wanted))
    leaves = _leaves(reader, manifests)
    found = map_together(partial(_with_config, reader), leaves, _WORKERS, Halt(cancel))
    for leaf, (config, _) in zip(leaves, found, strict=True):
        if config is not None:
            reader.keep(leaf.manifest.config.digest, config)
    for raw in reversed(manifests):
        reader.keep(raw.descriptor.digest, raw.data)
    images = tuple(image for _, image in found if image is not None)
    blobs = [blob for leaf in leaves for blob in (leaf.manifest.config, *leaf.manifest.layers)]
    once = {blob.digest: blob for blob in blobs}
    return Pulled(root.descriptor, images, tuple(manifests), tuple(once.values()))


def _one(
    reader: DocumentReader, root: RawManifest, platform: Platform, name: str
) -> list[RawManifest]:
    indexes = [root]

    def open_index(entry: Descriptor) -> Sequence[Descriptor]:
        indexes.append(reader.manifest(entry))
        return parse_index(indexes[-1], reader.name(entry.digest))

    entries = parse_index(root, reader.name(root.descriptor.digest))
    chosen = choose(entries, platform, name=name, open_index=open_index)
    return [*indexes, reader.manifest(chosen)]


def _everything(reader: DocumentReader, root: RawManifest, halt: Halt) -> list[RawManifest]:
    """An index and everything below it, level by level, each document once."""
    known = {root.descriptor.digest: root}
    indexes = [root]
    for _ in range(DEEPEST):
        entries: dict[Digest, Descriptor] = {}
        for index in indexes:
            for entry in parse_index(index, reader.name(index.descriptor.digest)):
                # Other types may be listed too; the specification says to pass over them.
                is_known = is_manifest(entry.media_type) or is_index(entry.media_type)
                if is_known and entry.digest not in known:
                    entries.setdefault(entry.digest, entry)
        if len(known) + len(entries) > MOST_MANIFESTS:
            refuse(reader.name(root.descriptor.digest), f"it has over {MOST_MANIFESTS} manifests")
        level = map_together(reader.manifest, tuple(entries.values()), _WORKERS, halt)
        known |= {raw.descriptor.digest: raw for raw in level}
        indexes = [raw for raw in level if is_index(raw.descriptor.media_type)]
    if indexes:
        refuse(reader.name(root.descriptor.digest),
               f"it holds indexes within indexes, more than {DEEPEST} deep")  # fmt: skip
    return list(known.values())


def _leaves(reader: DocumentReader, manifests: Sequence[RawManifest]) -> tuple[_Leaf, ...]:
    """The manifests that are no indexes; raises `NetworkError` where none is an image."""
    leaves = []
    for raw in manifests:
        if not is_index(raw.descriptor.media_type):
            name = reader.name(raw.descriptor.digest)
            manifest = parse_manifest(raw, name)
            is_image = is_image_config(manifest.config.media_type)
            leaves.append(
                _Leaf(name, raw, manifest, is_image and not is_attestation(raw.descriptor))
            )
    if not any(leaf.is_image for leaf in leaves):
        kinds = {
            parse_purpose(leaf.raw, leaf.name).artifact_type
            or leaf.manifest.config.media_type: leaf
            for leaf in leaves[:_MOST_KINDS]
            if not is_attestation(leaf.raw.descriptor)
        }
        refuse(reader.name(manifests[0].descriptor.digest),
               f"it is not an image but an artifact of type {', '.join(kinds)}"
               if kinds else "it lists no image")  # fmt: skip
    return tuple(leaves)


def _with_config(reader: DocumentReader, leaf: _Leaf) -> tuple[bytes | None, PulledImage | None]:
    """A manifest's config and, where it is one, the image; large configs of artifacts stay lazy."""
    if leaf.manifest.config.size > CONFIG_LIMIT:
        return None, None
    config = reader.config(leaf.manifest.config)
    if not leaf.is_image:
        return config, None
    image = parse_image(leaf.raw, config, leaf.name)
    return config, PulledImage(leaf.raw.descriptor, leaf.raw, config, image)


def fetch_layers(
    jobs: Sequence[tuple[Descriptor, tuple[LayerSource, ...]]],
    store: BlobStore,
    cancel: CancelToken,
    *,
    workers: int = 4,
    progress: Progress = no_progress,
) -> None:
    """Put every layer of `jobs` into `store`, each from the first of its repositories that works.

    Each digest is fetched once, the largest first, at most `workers` at a time; `progress` is
    called by one thread at a time. The first layer that cannot be had stops the others and is
    raised as `NetworkError` when all have stopped; also raises `MachineError` (the store's disk)
    and `Cancelled`.
    """
    halt = Halt(cancel)
    tell = halt.told(progress)
    once: dict[Digest, tuple[Descriptor, dict[str, LayerSource]]] = {}
    for descriptor, repositories in jobs:
        first, sources = once.setdefault(descriptor.digest, (descriptor, {}))
        if first.size != descriptor.size:
            raise NetworkError(f"layer {descriptor.digest} cannot be had",
                               why=f"one image says that it has {first.size} bytes, "
                                   f"another {descriptor.size}",
                               hint="one of the images is damaged; push it again")  # fmt: skip
        for repository in repositories:
            sources.setdefault(repository.full_name, repository)
    largest_first = sorted(once.values(), key=lambda job: -job[0].size)
    run_together(
        [
            partial(_fetch, descriptor, tuple(sources.values()), store, halt, tell)
            for descriptor, sources in largest_first
        ],
        streams((layer.size for layer, _ in largest_first), workers),
        halt,
    )


def _fetch(
    layer: Descriptor,
    repositories: Sequence[LayerSource],
    store: BlobStore,
    halt: Halt,
    progress: Progress,
) -> None:
    """Get one layer; a failing repository is passed over, the store's failure is not."""
    if store.has(layer.digest, layer.size):
        return
    failures: list[tuple[str, NetworkError]] = []
    for repository in repositories:
        halt.check()
        try:
            repository.fetch_blob(layer, store, progress)
        except NetworkError as error:
            failures.append((repository.full_name, error))
        else:
            return
    raise not_had(layer, failures) from (failures[-1][1] if failures else None)


def not_had(layer: Descriptor, failures: Sequence[tuple[str, NetworkError]]) -> NetworkError:
    """The error for a layer that none of its repositories gave: what each of them said."""
    kind = "foreign layer" if is_foreign(layer.media_type) else "layer"
    lines = [f"{name}: {': '.join(filter(None, (error.what, error.why)))}"
             for name, error in failures]  # fmt: skip
    hints = [error.hint for _, error in failures if error.hint]
    if is_foreign(layer.media_type):
        lines.append("its bytes may lie at servers that its image names; wherry does not ask them")
        hints = ["use an image without foreign layers"]
    elif not failures:
        lines.append("no repository is known that has it")
    return NetworkError(
        f"{kind} {layer.digest} ({layer.size} bytes) cannot be had",
        why="\n".join(lines),
        hint=hints[0] if hints else "pull the image again, or build with another base",
    )
