# SPDX-License-Identifier: Apache-2.0
"""Media types of images: the OCI's own and those that Docker wrote before them.

Sources: OCI image specification 1.1 (media-types.md, layer.md), Docker image manifest version 2,
schema 2. The two families name the same bytes, config and layers apart from their names; only what
stands here is an image's, so that attestations, charts and other artifacts are never unpacked.
"""

from __future__ import annotations

from typing import Final, Literal

from wherry.errors import UsageError

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER_TAR: Final = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
# Layers whose bytes registries do not hand out; the specification advises against new ones.
FOREIGN_TAR: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar"
FOREIGN_GZIP: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
FOREIGN_ZSTD: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"

DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_TAR: Final = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD: Final = "application/vnd.docker.image.rootfs.diff.tar.zstd"
DOCKER_FOREIGN_TAR: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar"
DOCKER_FOREIGN_GZIP: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
# Schema 1, which nobody writes any more: known so that it can be refused by name.
SCHEMA1: Final = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)

Compressed = Literal["none", "gzip", "zstd"]
_LAYERS: Final[dict[str, Compressed]] = {
    LAYER_TAR: "none",
    LAYER_GZIP: "gzip",
    LAYER_ZSTD: "zstd",
    FOREIGN_TAR: "none",
    FOREIGN_GZIP: "gzip",
    FOREIGN_ZSTD: "zstd",
    DOCKER_LAYER_TAR: "none",
    DOCKER_LAYER_GZIP: "gzip",
    DOCKER_LAYER_ZSTD: "zstd",
    DOCKER_FOREIGN_TAR: "none",
    DOCKER_FOREIGN_GZIP: "gzip",
}
_FOREIGN: Final = frozenset(
    (FOREIGN_TAR, FOREIGN_GZIP, FOREIGN_ZSTD, DOCKER_FOREIGN_TAR, DOCKER_FOREIGN_GZIP)
)
_OCI_NAMES: Final = {
    DOCKER_CONFIG: CONFIG,
    DOCKER_LAYER_TAR: LAYER_TAR,
    DOCKER_LAYER_GZIP: LAYER_GZIP,
    DOCKER_LAYER_ZSTD: LAYER_ZSTD,
    DOCKER_FOREIGN_TAR: FOREIGN_TAR,
    DOCKER_FOREIGN_GZIP: FOREIGN_GZIP,
}


def is_index(media_type: str) -> bool:
    """Whether it is a list of manifests by platform."""
    return media_type in (INDEX, DOCKER_LIST)


def is_manifest(media_type: str) -> bool:
    """Whether it is the manifest of one image (or artifact)."""
    return media_type in (MANIFEST, DOCKER_MANIFEST)


def is_layer(media_type: str) -> bool:
    """Whether it is an image's layer, foreign ones too."""
    return media_type in _LAYERS


def is_foreign(media_type: str) -> bool:
    """Whether it is a layer that is not to be pushed, and that registries need not have."""
    return media_type in _FOREIGN


def as_oci(media_type: str) -> str:
    """The OCI's name for the same bytes, for a layer or config of Docker's; others unchanged.

    Manifests and lists are no such case: their bytes say what they are.
    """
    return _OCI_NAMES.get(media_type, media_type)


def compression_of(media_type: str) -> Compressed:
    """How a layer of this type is said to be compressed; raises `UsageError` for no layer's type.

    Old tools wrote wrong types: who unpacks looks at the bytes (`wherry.fstree.decompress`).
    """
    found = _LAYERS.get(media_type)
    if found is None:
        raise UsageError(
            f"{media_type!a} is not an image layer",
            why="wherry unpacks tar layers: plain, gzip or zstd, of OCI or Docker type",
            hint="an artifact or an encrypted image has no files for a container: use another",
        )
    return found


def foreign_missing(digest: str, urls: tuple[str, ...]) -> UsageError:
    """The error for a foreign layer whose bytes are wanted and not here; queries are not shown."""
    from urllib.parse import urlsplit  # noqa: PLC0415 - spares every other start its price

    parts = [urlsplit(url) for url in urls if _is_plain(url)]
    hosts = ", ".join(sorted({part.hostname for part in parts if part.hostname}))
    return UsageError(
        f"the layer {digest} is not here",
        why="it is a foreign layer: registries do not hand it out"
        + (f", its own servers do ({hosts})" if hosts else ""),
        hint="use an image without foreign layers; bases of Windows have them",
    )


def _is_plain(url: str) -> bool:
    """Whether a stranger's URL can be taken apart and shown."""
    from urllib.parse import urlsplit  # noqa: PLC0415 - as above

    try:
        return url.isascii() and url.isprintable() and urlsplit(url).hostname is not None
    except ValueError:
        return False
