# SPDX-License-Identifier: Apache-2.0
"""What kind of manifest an answer holds (OCI image specification 1.1, manifest.md, image-index.md).

The media type is said twice, by the answer's Content-Type and by the document itself, and seen a
third time in the document's shape. Where they disagree somebody could be made to take the document
for something else than others do (CVE-2021-41190), so it is refused.
"""

from __future__ import annotations

from typing import Final

from wherry.errors import NetworkError
from wherry.oci.media import DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST
from wherry.registry.documents import INDEX_TYPES, MANIFEST_TYPES, read_object, refuse
from wherry.registry.problems import printable

ACCEPT: Final = (
    "accept",
    ", ".join((INDEX, MANIFEST, DOCKER_LIST, DOCKER_MANIFEST,
               "application/json;q=0.5", "*/*;q=0.1")),
)  # fmt: skip
"""The header that asks for what wherry reads, and for any other kind of artifact."""

_GENERIC: Final = frozenset(("", "application/json", "text/plain", "application/octet-stream"))
_SCHEMA_1: Final = "application/vnd.docker.distribution.manifest.v1+"


def content_type(header: str) -> str:
    """The media type of a Content-Type header, without parameters and in lower case."""
    return header.partition(";")[0].strip().lower()


def is_telling(media_type: str) -> bool:
    """Whether an answer's media type alone says which kind of manifest it is."""
    return media_type.endswith("+json") and not media_type.startswith(_SCHEMA_1)


def kind_of(data: bytes, stated: str, name: str) -> str:
    """The media type of the manifest `name`; `stated` is the answer's, as `content_type` gives it.

    Raises `NetworkError` for schema 1, contradictions, and what is no manifest at all.
    """
    _refuse_page(data, stated, name)
    value = read_object(data, name)
    if stated.startswith(_SCHEMA_1) or value.get("schemaVersion") == 1:
        raise NetworkError(
            f"{name} is a Docker image manifest of schema 1, which is no longer used",
            why="it names its layers by digests only, without sizes and media types",
            hint="push the image again with a tool of this decade",
        )
    inside = value.get("mediaType", "")
    if not isinstance(inside, str):
        refuse(name, "its mediaType is not a text")
    if stated not in _GENERIC and inside and inside.lower() != stated:
        refuse(name, f"the registry calls it {stated}, the document calls itself {inside}")
    kind = inside or (stated if stated not in _GENERIC else _by_shape(value, name))
    _check_shape(value, kind, name)
    return kind


def _refuse_page(data: bytes, stated: str, name: str) -> None:
    if stated in ("text/html", "application/xhtml+xml") or data.lstrip()[:1] == b"<":
        raise NetworkError(
            f"{name} is not there: the server is no registry",
            why=f"it answers with a page of type {printable(stated, most=100) or 'unknown'}",
            hint="check the registry's name and port",
        )


def _by_shape(value: dict[str, object], name: str) -> str:
    if "manifests" in value:
        return INDEX
    if "config" in value and "layers" in value:
        return MANIFEST
    refuse(name, "it is neither an image manifest nor an index")


def _check_shape(value: dict[str, object], kind: str, name: str) -> None:
    """No document may serve as both, and none as what it is not called."""
    is_index, is_image = "manifests" in value, "layers" in value or "config" in value
    contradicts = (is_image and kind in INDEX_TYPES) or (is_index and kind in MANIFEST_TYPES)
    if contradicts or (is_index and is_image):
        refuse(name, f"it is called {kind} and has the fields of something else")
