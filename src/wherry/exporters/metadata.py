# SPDX-License-Identifier: Apache-2.0
"""`--metadata-file` and `--iidfile`: a build's result for the scripts around it.

The keys are buildx's. The image ID in `--iidfile` is the manifest's digest, as Docker has it with
the containerd image store: it names the image in a registry and in `wherry run`; the config's
digest stands in the metadata.
"""

from __future__ import annotations

import json

from wherry.exporters.names import full_name
from wherry.exporters.staging import write_file
from wherry.oci.canonical import Json
from wherry.oci.digest import Digest
from wherry.oci.image import Image
from wherry.oci.reference import Reference


def image_metadata(image: Image, references: tuple[Reference, ...]) -> dict[str, Json]:
    """The image's facts under buildx's keys."""
    metadata: dict[str, Json] = {
        "containerimage.config.digest": str(image.manifest.config.digest),
        "containerimage.descriptor": image.descriptor.as_json(),
        "containerimage.digest": str(image.digest),
    }
    if references:
        metadata["image.name"] = ",".join(full_name(reference) for reference in references)
    return metadata


def write_metadata_file(image: Image, references: tuple[Reference, ...], dest: str) -> None:
    """Write the metadata as JSON; raises `MachineError` where `dest` cannot be written."""
    text = json.dumps(image_metadata(image, references), indent=2, sort_keys=True)
    write_file(dest, f"{text}\n".encode())


def write_iidfile(digest: Digest, dest: str) -> None:
    """Write the image ID, without a newline; raises `MachineError` where it cannot be written."""
    write_file(dest, str(digest).encode())
