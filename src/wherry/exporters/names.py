# SPDX-License-Identifier: Apache-2.0
"""An image's names as other tools read them in layouts and metadata."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from wherry.exporters.blobs import ExportedImage
from wherry.oci.canonical import Json
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor, pairs
from wherry.oci.reference import Reference

REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"
CREATED = "org.opencontainers.image.created"


def full_name(reference: Reference) -> str:
    """`docker.io/library/movies:latest`: the name without anything left to guess."""
    return reference.full


def index_entries(images: Iterable[ExportedImage]) -> list[dict[str, Json]]:
    """Images as an index.json lists them: each once for every name, or once without a name."""
    images = tuple(images)
    meant: dict[str, set[Digest]] = {}
    for image in images:
        for reference in image.references:
            meant.setdefault(reference.tag, set()).add(image.root.digest)
    shared = frozenset(tag for tag, found in meant.items() if len(found) > 1)
    entries = []
    for image in images:
        created = {CREATED: image.created} if image.created else {}
        names = [_names(item, shared) for item in image.references] or [{}]
        entries += [_entry(image.root, created | name) for name in names]
    return entries


def _names(reference: Reference, shared: frozenset[str]) -> dict[str, str]:
    # As buildx writes them: the tag for OCI tools, the whole name for containerd and Docker. Where
    # a tag means several images, OCI tools would find only the first by it.
    names = {IMAGE_NAME: full_name(reference)}
    if reference.tag:
        names[REF_NAME] = full_name(reference) if reference.tag in shared else reference.tag
    return names


def _entry(descriptor: Descriptor, annotations: dict[str, str]) -> dict[str, Json]:
    return replace(descriptor, annotations=pairs(annotations)).as_json()
