# SPDX-License-Identifier: Apache-2.0
"""`--metadata-file` and `--iidfile`: a build's result for the scripts around it.

The keys are buildx's. The image ID in `--iidfile` is the manifest's digest, as Docker has it with
the containerd image store: it names the image in a registry and in `wherry run`. After a load it is
what that engine has for an ID. The config's digest stands in the metadata.
"""

from __future__ import annotations

import json

from wherry.exporters.blobs import ExportedImage
from wherry.exporters.names import full_name
from wherry.exporters.staging import write_file
from wherry.oci.canonical import Json
from wherry.oci.digest import Digest
from wherry.process.cancel import CancelToken


def image_metadata(exported: ExportedImage) -> dict[str, Json]:
    """The image's facts under buildx's keys; an index has no config."""
    metadata: dict[str, Json] = {
        "containerimage.descriptor": exported.root.as_json(),
        "containerimage.digest": str(exported.root.digest),
    }
    if not exported.is_split:
        config = exported.images[0].manifest.config.digest
        metadata["containerimage.config.digest"] = str(config)
    if exported.references:
        metadata["image.name"] = ",".join(full_name(item) for item in exported.references)
    return metadata


def write_metadata_file(
    images: tuple[ExportedImage, ...], dest: str, cancel: CancelToken | None = None
) -> None:
    """Write the metadata as JSON; raises `MachineError` where `dest` cannot be written.

    Of several images, an object holds each under its name, as `docker buildx bake` has it.
    """
    found = {image.name: image_metadata(image) for image in images}
    value = found if len(images) > 1 else next(iter(found.values()))
    text = json.dumps(value, indent=2, sort_keys=True)
    write_file(dest, f"{text}\n".encode(), cancel)


def write_iidfile(digest: Digest, dest: str, cancel: CancelToken | None = None) -> None:
    """Write the image ID, without a newline; raises `MachineError` where it cannot be written."""
    write_file(dest, str(digest).encode(), cancel)
