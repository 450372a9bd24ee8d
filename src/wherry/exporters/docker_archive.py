# SPDX-License-Identifier: Apache-2.0
"""Archives as `docker save` writes them (moby, image/spec v1.2, "Combined Image JSON").

`manifest.json` names config, layers and tags of each image; `repositories` names the tags for tools
older than it. The blobs lie where an OCI layout has them, and `index.json` makes it one, as Docker
does since version 25: who reads that keeps the image's digest. A tar of this kind holds one
platform of an image. Layers may be compressed; Docker reads zstd since version 23 only.
"""

from __future__ import annotations

from wherry.errors import UsageError
from wherry.exporters.archive import layout_files
from wherry.exporters.archive_writer import Write, blob_path, held_blobs, write_archive
from wherry.exporters.blobs import ExportedImage
from wherry.oci.canonical import Json, canonical_json
from wherry.oci.image import Descriptor
from wherry.oci.media import foreign_missing
from wherry.oci.reference import Reference
from wherry.process.cancel import CancelToken


def write_docker_archive(
    images: tuple[ExportedImage, ...], write: Write, cancel: CancelToken, mtime: int = 0
) -> None:
    """Write the archive; as `write_oci_archive`, and raises `UsageError` for an index.

    Also for a foreign layer that is not here: no reader of such archives looks elsewhere for it.
    """
    for image in images:
        _check(image)
        for layer in image.layers:
            if image.lacks(layer):
                raise foreign_missing(layer.digest.short, layer.urls)
    files = {**layout_files(images), **_docker_files(images)}
    write_archive(held_blobs(images), files, write, cancel, mtime)


def write_partial_archive(
    image: ExportedImage, without: frozenset[Descriptor], write: Write, cancel: CancelToken
) -> None:
    """Write the archive for an engine that has the layers `without` already.

    It is no layout: one would have to be whole.
    """
    _check(image)
    config = image.images[0].manifest.config
    wanted = {config.digest, *(item.digest for item in image.layers if item not in without)}
    blobs = tuple(held for held in held_blobs((image,)) if held.descriptor.digest in wanted)
    write_archive(blobs, _docker_files((image,)), write, cancel)


def _check(image: ExportedImage) -> None:
    if image.is_split:
        platforms = ", ".join(str(item.config.platform) for item in image.images)
        raise UsageError(
            f"a docker archive cannot hold the platforms of {image.title}",
            why=f"the format has one image for a name, and these are several: {platforms}",
            hint="use type=oci, or build for one with --platform",
        )


def _docker_files(images: tuple[ExportedImage, ...]) -> dict[str, bytes]:
    files = {"manifest.json": canonical_json([_listed(image) for image in images])}
    # Those tools know a name by the ID of its uppermost layer: no layers, no name.
    repositories: dict[str, Json] = {}
    for image in images:
        layers = image.images[0].manifest.layers
        for reference in image.references if layers else ():
            known = repositories.setdefault(_repository(reference), {})
            if isinstance(known, dict):
                known[reference.tag] = layers[-1].digest.hex
    if repositories:
        files["repositories"] = canonical_json(repositories)
    return files


def _listed(image: ExportedImage) -> Json:
    only = image.images[0]
    return {
        "Config": blob_path(only.manifest.config),
        "RepoTags": [reference.familiar for reference in image.references],
        "Layers": [blob_path(layer) for layer in only.manifest.layers],
    }


def _repository(reference: Reference) -> str:
    return reference._replace(tag="", digest=None).familiar
