# SPDX-License-Identifier: Apache-2.0
"""Manifests, indexes and configs as a registry gave them, held against what was said of them.

`wherry.oci` reads the JSON of strangers; here a document also has to be of the bytes and the media
type that whoever named it stated, and to name nothing of an absurd size or number. Whatever is
wrong, one `NetworkError` names the document and says it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple, NoReturn

from wherry.errors import NetworkError, UsageError
from wherry.oci.fields import Object, parse_object, text_of
from wherry.oci.image import Descriptor, Image, Manifest, load_image, parse_descriptor
from wherry.oci.image import parse_index as read_index
from wherry.oci.image import parse_manifest as read_manifest
from wherry.oci.media import CONFIG, DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST, as_oci
from wherry.registry.model import MANIFEST_LIMIT, RawManifest
from wherry.registry.problems import printable

INDEX_TYPES: Final = frozenset((INDEX, DOCKER_LIST))
MANIFEST_TYPES: Final = frozenset((MANIFEST, DOCKER_MANIFEST))
CONFIG_LIMIT: Final = 8 << 20
MOST_MANIFESTS: Final = 1000
MOST_LAYERS: Final = 1000
# No registry takes a blob of a tebibyte; a sum of a thousand such sizes still counts as an int64.
_BLOB_LIMIT: Final = 1 << 40


class Purpose(NamedTuple):
    """What a manifest says of itself besides its blobs: a type, and what it is about."""

    artifact_type: str
    subject: Descriptor | None


def refuse(name: str, why: str, cause: BaseException | None = None) -> NoReturn:
    """Raise the `NetworkError` for the document `name`; `why` may hold a stranger's words."""
    hint = "push the image again, or use another tag or digest"
    raise NetworkError(f"{name} cannot be used", why=printable(why), hint=hint) from cause


def is_image_config(media_type: str) -> bool:
    """Whether a config of this type makes its manifest an image and not another artifact."""
    return as_oci(media_type) == CONFIG


def check_bytes(data: bytes, expected: Descriptor, name: str) -> None:
    """Raise `NetworkError` unless `data` has the size and digest that `expected` states."""
    if len(data) != expected.size:
        refuse(name, f"it has {len(data)} bytes where {expected.size} were stated")
    found = hashlib.new(expected.digest.algorithm, data).hexdigest()
    if found != expected.digest.hex:
        refuse(name, f"its bytes have the digest {expected.digest.algorithm}:{found}")


def read_object(data: bytes, name: str) -> Object:
    """The JSON object in `data`, as `wherry.oci.fields` reads it; raises `NetworkError`."""
    with _refusing(name):
        return parse_object(data, "it")


def media_type_of(data: bytes, name: str) -> str:
    """The media type of a document that came without one: what it says, else its shape."""
    value = read_object(data, name)
    with _refusing(name):
        return text_of(value, "mediaType", "it") or (INDEX if "manifests" in value else MANIFEST)


def parse_index(raw: RawManifest, name: str) -> tuple[Descriptor, ...]:
    """The entries of an index or manifest list, in its order; raises `NetworkError`."""
    with _refusing(name):
        index = read_index(raw.data)
    _check_type(index.media_type, raw, name)
    _check_number(index.manifests, MOST_MANIFESTS, "manifests", name)
    _check_sizes(index.manifests, MANIFEST_LIMIT, name)
    return index.manifests


def parse_manifest(raw: RawManifest, name: str) -> Manifest:
    """An image or artifact manifest; raises `NetworkError`."""
    with _refusing(name):
        manifest = read_manifest(raw.data)
    _check_type(manifest.media_type, raw, name)
    _check_number(manifest.layers, MOST_LAYERS, "layers", name)
    _check_sizes(manifest.layers, _BLOB_LIMIT, name)
    # An artifact's config may be of any size: it is a blob like its files.
    limit = CONFIG_LIMIT if is_image_config(manifest.config.media_type) else _BLOB_LIMIT
    _check_sizes((manifest.config,), limit, name)
    return manifest


def parse_purpose(raw: RawManifest, name: str) -> Purpose:
    """What a manifest is for; raises `NetworkError`."""
    value = read_object(raw.data, name)
    with _refusing(name):
        subject = value.get("subject")
        return Purpose(
            text_of(value, "artifactType", "it"),
            None if subject is None else parse_descriptor(subject),
        )


def parse_image(raw: RawManifest, config: bytes, name: str) -> Image:
    """The image of a manifest and its config; raises `NetworkError` where they do not fit."""
    with _refusing(name):
        return load_image(raw.data, config)


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """A document that is wrong is the registry's fault here, not the user's."""
    try:
        yield
    except UsageError as error:
        refuse(name, ": ".join(part for part in (error.what, error.why) if part), error)


def _check_type(found: str, raw: RawManifest, name: str) -> None:
    stated = raw.descriptor.media_type
    if found != stated:
        refuse(name, f"it says that it is {found}, but was named as {stated}")


def _check_number(found: tuple[Descriptor, ...], most: int, noun: str, name: str) -> None:
    if len(found) > most:
        refuse(name, f"it has {len(found)} {noun}, more than {most}")


def _check_sizes(descriptors: Iterable[Descriptor], limit: int, name: str) -> None:
    for descriptor in descriptors:
        if not 0 <= descriptor.size <= limit:
            refuse(name, f"it gives {descriptor.media_type} a size of {descriptor.size} bytes; "
                         f"there may be 0 to {limit}")  # fmt: skip
