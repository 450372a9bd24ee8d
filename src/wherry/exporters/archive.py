# SPDX-License-Identifier: Apache-2.0
"""An OCI image layout as one tar (OCI image specification, image-layout.md).

It may hold several images, and each for several platforms.
"""

from __future__ import annotations

from wherry.exporters.archive_writer import Write, held_blobs, write_archive
from wherry.exporters.blobs import ExportedImage
from wherry.exporters.names import index_entries
from wherry.oci.canonical import Json, canonical_json
from wherry.oci.image import INDEX
from wherry.process.cancel import CancelToken

LAYOUT_FILE = canonical_json({"imageLayoutVersion": "1.0.0"})


def write_oci_archive(
    images: tuple[ExportedImage, ...], write: Write, cancel: CancelToken, mtime: int = 0
) -> None:
    """Write the archive; raises `MachineError` for a damaged blob, `Cancelled`, what `write` does.

    Every entry carries `mtime`: an archive is made from blobs alone, and those have no time.
    """
    write_archive(held_blobs(images), layout_files(images), write, cancel, mtime)


def layout_files(images: tuple[ExportedImage, ...]) -> dict[str, bytes]:
    """What makes a directory of blobs a layout, by file name."""
    return {"index.json": index_json(index_entries(images)), "oci-layout": LAYOUT_FILE}


def index_json(entries: list[dict[str, Json]]) -> bytes:
    """An `index.json` with `entries`."""
    return canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [*entries]})
