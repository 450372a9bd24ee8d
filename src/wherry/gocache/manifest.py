# SPDX-License-Identifier: Apache-2.0
"""The manifest of a pack set: an OCI artifact (OCI image specification 1.1, manifest.md).

The config is the index, the layers are the blobs that it names, so that registries keep them as
long as the tag, and tools can copy the whole. The index's signature is an annotation. A manifest
found at a place is a stranger's until it has shown that it is one of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, NoReturn

from wherry.errors import NetworkError, UsageError
from wherry.gocache.places import INDEX_LIMIT, BytesBlob, Damaged, Document, Found
from wherry.oci.digest import sha256
from wherry.oci.image import Descriptor
from wherry.oci.media import CONFIG, as_oci, is_index, is_manifest
from wherry.registry.artifact import EMPTY, ArtifactContent, artifact_manifest
from wherry.registry.documents import MOST_LAYERS, parse_manifest, parse_purpose
from wherry.registry.model import BlobSource, RawManifest

ARTIFACT_TYPE: Final = "application/vnd.wherry.gocache.v1"
INDEX_TYPE: Final = "application/vnd.wherry.gocache.index.v1+json"
SIGNATURE: Final = "vnd.wherry.gocache.signature"
_FAMILY: Final = "application/vnd.wherry.gocache.v"
_LONGEST_SIGNATURE: Final = 1000


@dataclass(frozen=True, slots=True)
class PackSet:
    """A pack set's manifest: its exact bytes and what they say."""

    raw: RawManifest
    index: Descriptor
    blobs: tuple[Descriptor, ...]
    signature: str = ""

    def found(self, index: bytes) -> Found:
        """What the place holds, given the index's bytes."""
        return Found(self.raw.descriptor.digest, index, self.signature)


class Made(NamedTuple):
    """A pack set to write, and the small blobs that go with it."""

    pack_set: PackSet
    blobs: tuple[BlobSource, ...]


def make_pack_set(document: Document) -> Made:
    """The manifest for a document; equal documents give equal bytes.

    Raises `UsageError` where it is beyond what registries take or a reader of ours accepts.
    """
    if len(document.index) > INDEX_LIMIT:
        _too_large(f"its index has {len(document.index)} bytes, more than {INDEX_LIMIT}")
    blobs = tuple({blob.digest: blob for blob in document.blobs}.values())
    if len(blobs) > MOST_LAYERS:
        _too_large(f"it has {len(blobs)} blobs, more than {MOST_LAYERS}")
    index = BytesBlob(_described(INDEX_TYPE, document.index), document.index)
    annotations = ((SIGNATURE, document.signature),) if document.signature else ()
    content = ArtifactContent(
        ARTIFACT_TYPE,
        tuple(BytesBlob(blob, b"") for blob in blobs),
        index,
        annotations=annotations,
    )
    raw = artifact_manifest(content)
    small: tuple[BlobSource, ...] = (index,)
    if not blobs:
        small += (BytesBlob(_described(EMPTY, b"{}"), b"{}"),)
    return Made(PackSet(raw, index.descriptor, blobs, document.signature), small)


def read_pack_set(raw: RawManifest, name: str) -> PackSet:
    """What a manifest at a place says; `name` is the place's.

    Raises `UsageError` where it is something else, `Damaged` where it is ours and not usable, and
    `NetworkError` where it cannot be told what it is.
    """
    media_type = raw.descriptor.media_type
    if is_index(media_type):
        _refuse(name, "an image of several platforms")
    if not is_manifest(media_type):
        _refuse(name, "something of a kind that wherry does not know")
    purpose = parse_purpose(raw, name).artifact_type
    try:
        manifest = parse_manifest(raw, name)
    except NetworkError as error:
        if purpose == ARTIFACT_TYPE:
            raise damaged(name, error.why) from error
        raise
    purpose = purpose or manifest.config.media_type
    if purpose != ARTIFACT_TYPE:
        if purpose.startswith(_FAMILY):
            raise UsageError(f"the cache {name} is of a newer format",
                             why="a later release of wherry has written it",
                             hint="update wherry, or name another place for this one")  # fmt: skip
        is_image = as_oci(purpose) == CONFIG
        _refuse(name, "an image" if is_image else f"an artifact of type {purpose[:100]!a}")
    if manifest.config.media_type != INDEX_TYPE:
        raise damaged(name, f"its index is of type {manifest.config.media_type[:100]!a}")
    if manifest.config.size > INDEX_LIMIT:
        raise damaged(name, f"its index has {manifest.config.size} bytes, more than {INDEX_LIMIT}")
    signature = dict(manifest.annotations).get(SIGNATURE, "")
    blobs = tuple(blob for blob in manifest.layers if blob.media_type != EMPTY)
    return PackSet(raw, manifest.config, blobs, signature[:_LONGEST_SIGNATURE])


def damaged(name: str, why: str) -> Damaged:
    """The error for a pack set that cannot be used."""
    return Damaged(f"the cache {name} is damaged", why=why,
                   hint="the next export to it writes it anew")  # fmt: skip


def _described(media_type: str, data: bytes) -> Descriptor:
    return Descriptor(media_type, sha256(data), len(data))


def _too_large(why: str) -> NoReturn:
    raise UsageError("the cache is too large to be written", why=why,
                     hint="give it a smaller max-size=")  # fmt: skip


def _refuse(name: str, what: str) -> NoReturn:
    raise UsageError(f"{name} is {what}, not a cache",
                     why="wherry replaces nothing but caches of its own",
                     hint="name another tag, or a directory of its own")  # fmt: skip
