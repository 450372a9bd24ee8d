# SPDX-License-Identifier: Apache-2.0
"""Descriptors, manifests, indexes, image configs and images as frozen values.

Sources: OCI image specification 1.1, descriptor.md, manifest.md, image-index.md, config.md. Each
value gives its exact canonical bytes; the bytes are what is digested, stored and sent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Final

from wherry.errors import UsageError
from wherry.oci.canonical import Json, canonical_json
from wherry.oci.digest import Digest, parse_digest, sha256
from wherry.oci.platform import Platform

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER_TAR: Final = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"

Pairs = tuple[tuple[str, str], ...]


def pairs(mapping: dict[str, str]) -> Pairs:
    """A mapping as sorted pairs, so that a value that holds it stays hashable."""
    return tuple(sorted(mapping.items()))


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to a blob: media type, digest, size in bytes, annotations, platform."""

    media_type: str
    digest: Digest
    size: int
    annotations: Pairs = ()
    platform: Platform | None = None

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
        value: dict[str, Json] = {"created": self.created, "created_by": self.created_by}
        if self.comment:
            value["comment"] = self.comment
        if self.author:
            value["author"] = self.author
        if self.empty:
            value["empty_layer"] = True
        return value


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What a container of the image runs: the `config` object of config.md.

    `env` keeps its order; `exposed_ports` are `8000/tcp`. Fields that are empty are left out of
    the JSON, as Docker's tools do.
    """

    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    working_dir: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Pairs = ()
    stop_signal: str = ""

    def as_json(self) -> dict[str, Json]:
        """The object as the specification writes it."""
        value: dict[str, Json] = {
            "User": self.user,
            "Env": list(self.env),
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.cmd),
            "WorkingDir": self.working_dir,
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "Volumes": {path: {} for path in self.volumes},
            "Labels": dict(self.labels),
            "StopSignal": self.stop_signal,
        }
        return {key: item for key, item in value.items() if item}


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
            "created": self.created,
            "config": self.run.as_json(),
            "rootfs": {"type": "layers", "diff_ids": [str(item) for item in self.diff_ids]},
            "history": [entry.as_json() for entry in self.history],
        }
        if self.author:
            value["author"] = self.author
        return canonical_json(value)


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image manifest (manifest.md)."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Pairs = ()

    def encoded(self) -> bytes:
        """The exact bytes of the blob."""
        value: dict[str, Json] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.config.as_json(),
            "layers": [layer.as_json() for layer in self.layers],
        }
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return canonical_json(value)


@dataclass(frozen=True, slots=True)
class Index:
    """An image index (image-index.md): several manifests by platform."""

    manifests: tuple[Descriptor, ...]
    annotations: Pairs = ()

    def encoded(self) -> bytes:
        """The exact bytes of the blob."""
        value: dict[str, Json] = {
            "schemaVersion": 2,
            "mediaType": INDEX,
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
        """The manifest's descriptor, with the platform, as an index lists it."""
        return Descriptor(
            MANIFEST, self.digest, len(self.manifest_bytes), platform=self.config.platform
        )

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
    if manifest.config.digest != sha256(config_bytes):
        raise UsageError("an image config does not have the digest that its manifest names")
    if len(manifest.layers) != len(config.diff_ids):
        raise UsageError("an image's manifest and config disagree on the number of layers")
    return Image(manifest, config, manifest_bytes, config_bytes)


def parse_descriptor(value: object) -> Descriptor:
    """A descriptor from JSON; raises `UsageError` where a field is missing or of a wrong type."""
    if not isinstance(value, dict):
        raise UsageError("a descriptor is not a JSON object")
    media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    if not isinstance(media_type, str) or not isinstance(digest, str) or type(size) is not int:
        raise UsageError("a descriptor lacks mediaType, digest or size")
    raw_platform = value.get("platform")
    platform = None
    if isinstance(raw_platform, dict):
        platform = Platform(
            str(raw_platform.get("os", "")),
            str(raw_platform.get("architecture", "")),
            str(raw_platform.get("variant", "")),
        )
    return Descriptor(
        media_type, parse_digest(digest), size, _string_pairs(value.get("annotations")), platform
    )


def parse_manifest(data: bytes) -> Manifest:
    """An image manifest from its bytes; raises `UsageError` where it is none."""
    value = _object(data, "manifest")
    layers = value.get("layers")
    if not isinstance(layers, list):
        raise UsageError("a manifest lacks its layers")
    return Manifest(
        parse_descriptor(value.get("config")),
        tuple(parse_descriptor(layer) for layer in layers),
        _string_pairs(value.get("annotations")),
    )


def parse_config(data: bytes) -> ImageConfig:
    """An image config from its bytes; unknown fields are dropped. Raises `UsageError`."""
    value = _object(data, "image config")
    rootfs = value.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    run = value.get("config")
    history = value.get("history")
    if not isinstance(diff_ids, list):
        raise UsageError("an image config lacks rootfs.diff_ids")
    return ImageConfig(
        Platform(
            str(value.get("os", "")),
            str(value.get("architecture", "")),
            str(value.get("variant", "")),
        ),
        str(value.get("created", "")),
        _parse_run(run if isinstance(run, dict) else {}),
        tuple(parse_digest(str(item)) for item in diff_ids),
        tuple(
            _parse_history(entry)
            for entry in (history if isinstance(history, list) else ())
            if isinstance(entry, dict)
        ),
        str(value.get("author", "")),
    )


def _object(data: bytes, noun: str) -> dict[str, object]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise UsageError(f"a {noun} is not JSON", why=str(error)) from error
    if not isinstance(value, dict):
        raise UsageError(f"a {noun} is not a JSON object")
    return value


def _string_pairs(value: object) -> Pairs:
    if not isinstance(value, dict):
        return ()
    return tuple(sorted((str(key), str(item)) for key, item in value.items()))


def _parse_history(value: dict[str, object]) -> HistoryEntry:
    return HistoryEntry(
        str(value.get("created", "")),
        str(value.get("created_by", "")),
        str(value.get("comment", "")),
        str(value.get("author", "")),
        value.get("empty_layer") is True,
    )


def _parse_run(value: dict[str, object]) -> RunConfig:
    def words(key: str) -> tuple[str, ...]:
        items = value.get(key)
        return tuple(str(item) for item in items) if isinstance(items, list) else ()

    def keys(key: str) -> tuple[str, ...]:
        items = value.get(key)
        return tuple(sorted(str(item) for item in items)) if isinstance(items, dict) else ()

    return RunConfig(
        str(value.get("User") or ""),
        words("Env"),
        words("Entrypoint"),
        words("Cmd"),
        str(value.get("WorkingDir") or ""),
        keys("ExposedPorts"),
        keys("Volumes"),
        _string_pairs(value.get("Labels")),
        str(value.get("StopSignal") or ""),
    )
