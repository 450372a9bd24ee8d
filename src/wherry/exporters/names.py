# SPDX-License-Identifier: Apache-2.0
"""An image's names as other tools read them in layouts and metadata."""

from __future__ import annotations

from dataclasses import replace

from wherry.exporters.blobs import ExportedImage
from wherry.oci.canonical import Json
from wherry.oci.image import Descriptor, pairs
from wherry.oci.reference import Reference

REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"
CREATED = "org.opencontainers.image.created"


def full_name(reference: Reference) -> str:
    """`docker.io/library/movies:latest`: the name without anything left to guess."""
    return reference.full


def index_entries(image: ExportedImage) -> list[dict[str, Json]]:
    """The image as an index.json lists it: once for each name, or once without a name."""
    created = {CREATED: image.created} if image.created else {}
    if not image.references:
        return [_entry(image.root, created)]
    return [_entry(image.root, created | _names(item)) for item in image.references]


def _names(reference: Reference) -> dict[str, str]:
    # As buildx writes them: the tag for OCI tools, the whole name for containerd and Docker.
    names = {IMAGE_NAME: full_name(reference)}
    if reference.tag:
        names[REF_NAME] = reference.tag
    return names


def _entry(descriptor: Descriptor, annotations: dict[str, str]) -> dict[str, Json]:
    return replace(descriptor, annotations=pairs(annotations)).as_json()
