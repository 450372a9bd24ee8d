# SPDX-License-Identifier: Apache-2.0
"""Descriptors, manifests, indexes, image configs and images as frozen values.

Sources: OCI image specification 1.1, descriptor.md, manifest.md, image-index.md, config.md; Docker
image manifest version 2, schema 2, which is read as well. Each value gives its exact canonical
bytes; the bytes are what is digested, stored and sent. Documents of strangers are read with
distrust: they give a value or a `UsageError`, never another exception.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Final

from wherry.errors import UsageError
from wherry.oci.canonical import Json, canonical_json
from wherry.oci.digest import Digest, parse_digest, sha256
from wherry.oci.fields import (
    Object,
    Pairs,
    as_object,
    list_of,
    number_of,
    object_of,
    pairs,
    pairs_of,
    parse_object,
    text_of,
    texts_of,
)
from wherry.oci.media import (
    CONFIG,
    INDEX,
    LAYER_GZIP,
    LAYER_TAR,
    MANIFEST,
    SCHEMA1,
    is_index,
    is_manifest,
)
from wherry.oci.platform import Platform
from wherry.oci.run_config import RunConfig, parse_run_config

__all__ = [
    "CONFIG", "INDEX", "LAYER_GZIP", "LAYER_TAR", "MANIFEST", "Descriptor", "HistoryEntry",
    "Image", "ImageConfig", "Index", "Layer", "Manifest", "Pairs", "RunConfig", "load_image",
    "make_image", "pairs", "parse_config", "parse_descriptor", "parse_index", "parse_manifest",
    "platform_json",
]  # fmt: skip

# Media types become header lines: one line of printable ASCII, as long as RFC 6838 allows.
_MEDIA_TYPE: Final = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to a blob: media type, digest, size in bytes, annotations, platform.

    `urls` are other places to get it from (foreign layers); `artifact_type` is what a manifest
    that an index lists says of itself.
    """

    media_type: str
    digest: Digest
    size: int
    annotations: Pairs = ()
    platform: Platform | None = None
    urls: tuple[str, ...] = ()
    artifact_type: str = ""

    def as_json(self) -> dict[str, Json]:
        """The descriptor as the specification writes it; empty fields are left out."""
        value: dict[str, Json] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.platform is not None:
            value["platform"] = platform_json(self.platform)
        if self.urls:
            value["urls"] = list(self.urls)
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        return value


def platform_json(platform: Platform) -> dict[str, Json]:
    """A platform as the specification writes it."""
    value: dict[str, Json] = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        value["variant"] = platform.variant
    return value


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of an image: its blob, its diff ID (digest of the uncompressed tar)."""

    descriptor: Descriptor
    diff_id: Digest


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of an image's history; `empty` for an instruction that made no layer."""

    created: str
    created_by: str
    comment: str = ""
    author: str = ""
    empty: bool = False

    def as_json(self) -> dict[str, Json]:
        """The entry as the specification writes it."""
        value: dict[str, Json] = {
            "created": self.created,
            "created_by": self.created_by,
            "comment": self.comment,
            "author": self.author,
        }
        # An empty text is no date: Go's readers would refuse the whole config.
        value = {key: item for key, item in value.items() if item}
        if self.empty:
            value["empty_layer"] = True
        return value


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The image config blob (config.md); `created` is RFC 3339 with seconds and `Z`."""

    platform: Platform
    created: str
    run: RunConfig
    diff_ids: tuple[Digest, ...]
    history: tuple[HistoryEntry, ...]
    author: str = ""

    def encoded(self) -> bytes:
        """The exact bytes of the blob."""
        value: dict[str, Json] = {
            **platform_json(self.platform),
            "config": self.run.as_json(),
            "rootfs": {"type": "layers", "diff_ids": [str(item) for item in self.diff_ids]},
            "history": [entry.as_json() for entry in self.history],
        }
        if self.created:
            value["created"] = self.created
        if self.author:
            value["author"] = self.author
        return canonical_json(value)


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image manifest (manifest.md); `media_type` may be Docker's."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Pairs = ()
    media_type: str = MANIFEST

    def encoded(self) -> bytes:
        """The exact bytes of the blob."""
        value: dict[str, Json] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self.config.as_json(),
            "layers": [layer.as_json() for layer in self.layers],
        }
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return canonical_json(value)


@dataclass(frozen=True, slots=True)
class Index:
    """An image index (image-index.md): several manifests by platform; `media_type` as above."""

    manifests: tuple[Descriptor, ...]
    annotations: Pairs = ()
    media_type: str = INDEX

    def encoded(self) -> bytes:
        """The exact bytes of the blob."""
        value: dict[str, Json] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "manifests": [item.as_json() for item in self.manifests],
        }
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return canonical_json(value)


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest with its config: everything of an image but the layers' bytes.

    The exact bytes are kept beside what was read from them: a foreign manifest keeps its digest.
    """

    manifest: Manifest
    config: ImageConfig
    manifest_bytes: bytes
    config_bytes: bytes

    @property
    def digest(self) -> Digest:
        """The manifest's digest: the image's name for machines."""
        return sha256(self.manifest_bytes)

    @property
    def descriptor(self) -> Descriptor:
        """The manifest's descriptor, with the platform if known, as an index lists it."""
        platform = self.config.platform if self.config.platform.os else None
        size = len(self.manifest_bytes)
        return Descriptor(self.manifest.media_type, self.digest, size, platform=platform)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers with their diff IDs, lowest first."""
        return tuple(
            Layer(descriptor, diff_id)
            for descriptor, diff_id in zip(self.manifest.layers, self.config.diff_ids, strict=True)
        )


def make_image(layers: tuple[Layer, ...], config: ImageConfig, annotations: Pairs = ()) -> Image:
    """Compose manifest and config; `config.diff_ids` is taken from the layers."""
    config = replace(config, diff_ids=tuple(layer.diff_id for layer in layers))
    config_bytes = config.encoded()
    manifest = Manifest(
        Descriptor(CONFIG, sha256(config_bytes), len(config_bytes)),
        tuple(layer.descriptor for layer in layers),
        annotations,
    )
    return Image(manifest, config, manifest.encoded(), config_bytes)


def load_image(manifest_bytes: bytes, config_bytes: bytes) -> Image:
    """The image that these blobs describe; raises `UsageError` where they do not fit."""
    manifest, config = parse_manifest(manifest_bytes), parse_config(config_bytes)
    named = manifest.config
    if hashlib.new(named.digest.algorithm, config_bytes).hexdigest() != named.digest.hex:
        raise UsageError("an image config does not have the digest that its manifest names")
    if len(config_bytes) != named.size:
        raise UsageError("an image config does not have the size that its manifest names")
    if len(manifest.layers) != len(config.diff_ids):
        raise UsageError("an image's manifest and config disagree on the number of layers")
    return Image(manifest, config, manifest_bytes, config_bytes)


def parse_descriptor(value: object) -> Descriptor:
    """A descriptor from JSON; raises `UsageError` where a field is missing or of a wrong type."""
    noun = "a descriptor"
    found = as_object(value, noun)
    media_type, digest = text_of(found, "mediaType", noun), text_of(found, "digest", noun)
    size = number_of(found, "size", noun)
    if not media_type or not digest or size is None:
        raise UsageError("a descriptor lacks mediaType, digest or size")
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise UsageError(f"not a media type: {media_type[:100]!a}")
    platform = found.get("platform")
    return Descriptor(
        media_type,
        parse_digest(digest),
        size,
        pairs_of(found, "annotations", noun),
        None if platform is None else _parse_platform(as_object(platform, f"platform of {noun}")),
        texts_of(found, "urls", noun),
        text_of(found, "artifactType", noun),
    )


def parse_manifest(data: bytes) -> Manifest:
    """An image manifest from its bytes; raises `UsageError` where it is none."""
    noun = "a manifest"
    value = parse_object(data, noun)
    media_type = _media_type(value, noun, MANIFEST)
    if not is_manifest(media_type) or "manifests" in value:
        raise UsageError(f"not an image manifest, but {media_type[:100]!a}",
                         why="it lists the manifests of several platforms"
                         if is_index(media_type) or "manifests" in value else "")  # fmt: skip
    if "layers" not in value:
        raise UsageError("a manifest lacks its layers")
    return Manifest(
        parse_descriptor(value.get("config")),
        tuple(parse_descriptor(layer) for layer in list_of(value, "layers", noun)),
        pairs_of(value, "annotations", noun),
        media_type,
    )


def parse_index(data: bytes) -> Index:
    """An image index, or Docker's manifest list, from its bytes; raises `UsageError`."""
    noun = "an image index"
    value = parse_object(data, noun)
    media_type = _media_type(value, noun, INDEX)
    # One document that is both would be another image for another reader.
    if not is_index(media_type) or "layers" in value or "config" in value:
        raise UsageError(f"not an image index, but {media_type[:100]!a}")
    if "manifests" not in value:
        raise UsageError("an image index lacks its manifests")
    return Index(
        tuple(parse_descriptor(item) for item in list_of(value, "manifests", noun)),
        pairs_of(value, "annotations", noun),
        media_type,
    )


def parse_config(data: bytes) -> ImageConfig:
    """An image config from its bytes; unknown fields are dropped. Raises `UsageError`.

    An image without layers may lack `diff_ids`, but not `rootfs`: Docker writes it so.
    """
    noun = "an image config"
    value = parse_object(data, noun)
    if value.get("rootfs") is None:
        raise UsageError("an image config lacks rootfs.diff_ids")
    diff_ids = texts_of(object_of(value, "rootfs", noun), "diff_ids", noun)
    return ImageConfig(
        _parse_platform(value),
        text_of(value, "created", noun),
        parse_run_config(object_of(value, "config", noun)),
        tuple(parse_digest(item) for item in diff_ids),
        tuple(_parse_history(entry) for entry in list_of(value, "history", noun)),
        text_of(value, "author", noun),
    )


def _media_type(value: Object, noun: str, default: str) -> str:
    """What a document says that it is: the OCI's may leave that to whoever names it."""
    media_type = text_of(value, "mediaType", noun)
    if value.get("schemaVersion") == 1 or media_type in SCHEMA1:
        raise UsageError(f"{noun} is of Docker's schema 1",
                         why="that format is obsolete: its images have no config and no diff IDs",
                         hint="push the image again with a current tool")  # fmt: skip
    if type(value.get("schemaVersion")) is not int or value["schemaVersion"] != 2:
        raise UsageError(f"schemaVersion of {noun} is not 2")
    return media_type or default


def _parse_platform(value: Object) -> Platform:
    return Platform(
        *(text_of(value, key, "a platform") for key in ("os", "architecture", "variant"))
    )


def _parse_history(value: object) -> HistoryEntry:
    """An entry, nulls taken for empty: nothing but people reads them."""
    noun = "an image's history"
    found = as_object({} if value is None else value, noun)
    created, created_by, comment, author = (
        text_of(found, key, noun) for key in ("created", "created_by", "comment", "author")
    )
    return HistoryEntry(created, created_by, comment, author, found.get("empty_layer") is True)
