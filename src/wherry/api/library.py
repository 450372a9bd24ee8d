# SPDX-License-Identifier: Apache-2.0
"""What can be done with images and the store besides building: list, name, remove, prune.

Each function opens the store that it is given and closes it again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from wherry.api.content import stored_image
from wherry.api.lazy import missing_layers
from wherry.api.removing import namespace_remover
from wherry.api.store_limit import StoreLimit
from wherry.errors import MachineError, SeveralErrors, UsageError, WherryError
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor, parse_config, parse_manifest
from wherry.oci.media import is_index
from wherry.oci.platform import Platform
from wherry.oci.reference import Reference, parse_reference
from wherry.registry.choose import is_attestation
from wherry.registry.documents import is_image_config
from wherry.registry.model import RawManifest
from wherry.store.prune import Pruned
from wherry.store.relief import open_to_prune
from wherry.store.store import Store, open_store
from wherry.store.trash import Remover
from wherry.store.usage import IN_USE, Kind, Usage

__all__ = [
    "ImageSummary",
    "Pruned",
    "StoredItem",
    "Usage",
    "list_images",
    "list_store",
    "prune_store",
    "remove_images",
    "store_usage",
    "tag_image",
]


class ImageSummary(NamedTuple):
    """One line of `wherry images`.

    `size` is what a registry would hold: layers, configs and manifests, for all platforms, each
    once. It is None for an image whose manifest is missing or damaged. `created_at`: seconds since
    1970. `missing` is the size of the layers that are not in this store but in a registry; foreign
    layers, which registries need not have, are none of them.
    """

    name: str
    digest: str
    platforms: tuple[str, ...]
    size: int | None
    created_at: float
    missing: int = 0


class StoredItem(NamedTuple):
    """One line of `wherry cache ls`: a blob, snapshot, cache mount, Go modules or work directory.

    `name` is a blob's digest, a snapshot's key, a cache mount's id; of Go modules the digest of all
    together, or `listings` for the listings of modules, which are one item. `size` is bytes on
    disk. `used_at`: seconds since 1970, None while somebody holds it.
    """

    kind: Kind
    name: str
    size: int
    used_at: float | None


class _Weight(NamedTuple):
    platforms: tuple[str, ...]
    size: int
    missing: int


def list_images(store: str) -> tuple[ImageSummary, ...]:
    """All tagged images, the newest first."""
    with open_store(store) as opened:
        return tuple(
            _summary(opened, row.reference, row.descriptor, row.created_at)
            for row in opened.images.list()
        )


def tag_image(store: str, source: str, name: str) -> str:
    """Give the image `source` another name; the new full reference. Raises `UsageError`."""
    reference = parse_reference(name)
    if reference.digest is not None:
        raise UsageError(f"a tag has no digest: {name!r}", hint="leave out @sha256:...")
    with open_store(store) as opened:
        found = _resolved(opened, source)
        opened.images.tag(reference, found, time.time())
        return f"{reference.familiar}@{found.digest}"


def remove_images(store: str, names: tuple[str, ...], *, force: bool = False) -> tuple[str, ...]:
    """Remove tags, or with a digest a whole image; the references that went.

    All names are looked at before anything is removed: one that is unknown, or a digest of an
    image with several tags (without `force`), is a `UsageError` and nothing goes. The room is
    given back by the next prune.
    """
    with open_store(store) as opened:
        plans, errors = [], list[WherryError]()
        for name in dict.fromkeys(names):
            try:
                plans.append(_removal(opened, name, force=force))
            except UsageError as error:
                errors.append(error)
        if errors:
            raise errors[0] if len(errors) == 1 else SeveralErrors(tuple(errors))
        removed: dict[str, None] = {}
        for digest, references in plans:
            for reference in references:
                if opened.images.get(reference) is not None:
                    removed[f"{reference.familiar}@{opened.images.untag(reference).digest}"] = None
            if not references:
                opened.images.forget(digest)
                removed[str(digest)] = None
        return tuple(removed)


def store_usage(store: str) -> Usage:
    """How much room the store takes."""
    with open_store(store) as opened:
        return opened.usage()


def list_store(store: str) -> tuple[StoredItem, ...]:
    """What the store holds besides records, in the order in which pruning would remove it.

    Blobs of tagged images are among them, though they stay.
    """
    with open_store(store) as opened:
        found = sorted(opened.survey().all, key=lambda item: (not item.garbage, item.used_at))
    return tuple(
        StoredItem(
            item.kind,
            item.key or item.name,
            item.size,
            None if item.used_at == IN_USE else item.used_at,
        )
        for item in found
    )


def prune_store(
    store: str,
    env: Mapping[str, str],
    *,
    directory: str = "",
    everything: bool = False,
    target: int | None = None,
    dry_run: bool = False,
) -> Pruned:
    """Make the store smaller, as `Store.prune` describes; `env` is the user's environment.

    The cap is that of the user's settings, else that of the project around `directory`. Raises
    `UsageError` for a bad file of settings.
    """
    limit = StoreLimit(directory, env)
    remover = namespace_remover(store, env)
    with _opened_to_prune(store, limit, remover, dry_run=dry_run) as opened:
        return opened.prune(everything, target, dry_run=dry_run)


def _opened_to_prune(store: str, limit: StoreLimit, remover: Remover, *, dry_run: bool) -> Store:
    if dry_run:
        return open_store(store, limit, remover=remover)
    return open_to_prune(store, limit, remover)


def _resolved(store: Store, text: str) -> Descriptor:
    found = store.images.resolve(text)
    if found is None:
        raise store.images.unknown(text)
    return found


def _removal(store: Store, text: str, *, force: bool) -> tuple[Digest, tuple[Reference, ...]]:
    """The image that `text` names and the tags to remove; none for an image without tags."""
    found = _resolved(store, text)
    tags = store.images.tags_of(found.digest)
    named = _tag_named(text, tags)
    if named is not None:
        return found.digest, (named,)
    if len(tags) > 1 and not force:
        names = ", ".join(tag.familiar for tag in tags)
        raise UsageError(f"the image {text!r} has several names", why=names,
                         hint="remove them by name, or all of them with --force")  # fmt: skip
    return found.digest, tags


def _tag_named(text: str, tags: tuple[Reference, ...]) -> Reference | None:
    try:
        reference = parse_reference(text)._replace(digest=None)
    except UsageError:
        return None
    if not reference.tag:
        reference = reference._replace(tag="latest")
    return reference if reference in tags else None


def _summary(
    store: Store, reference: Reference, descriptor: Descriptor, created_at: float
) -> ImageSummary:
    try:
        platforms, size, missing = _weighed(store, descriptor)
    except (MachineError, UsageError):
        platforms, size, missing = (), None, 0
    digest = str(descriptor.digest)
    return ImageSummary(reference.familiar, digest, platforms, size, created_at, missing)


def _weighed(store: Store, descriptor: Descriptor) -> _Weight:
    """Platforms and size of an image, or of all images of an index: each blob counts once."""
    image = stored_image(store, descriptor)
    size = sum(len(raw.data) for raw in (image.root, *image.children))
    size += sum(blob.size for blob in image.blobs)
    missing = sum(layer.size for layer in missing_layers(store, image.manifests))
    named = (_platform(store, raw) for raw in (*image.children, image.root))
    platforms = dict.fromkeys(str(platform) for platform in named if platform is not None)
    return _Weight(tuple(platforms), size, missing)


def _platform(store: Store, raw: RawManifest) -> Platform | None:
    """What an image is for; None for an index, an attestation and an artifact."""
    if is_index(raw.descriptor.media_type) or is_attestation(raw.descriptor):
        return None
    config = parse_manifest(raw.data).config
    if not is_image_config(config.media_type):
        return None
    return raw.descriptor.platform or parse_config(store.blobs.read(config.digest)).platform
