# SPDX-License-Identifier: Apache-2.0
"""Writing an image's outputs and the files about it: exporters put together with the store."""

from __future__ import annotations

import os

from wherry.api.delivery import Delivered
from wherry.api.lazy import complete
from wherry.api.recorded import Output
from wherry.api.registries import Registries
from wherry.api.request import BuildRequest
from wherry.errors import UsageError
from wherry.exporters.archive import stream_oci_archive, write_oci_archive
from wherry.exporters.blobs import ExportedImage
from wherry.exporters.local import write_local
from wherry.exporters.metadata import write_iidfile, write_metadata_file
from wherry.exporters.oci_layout import write_oci_directory
from wherry.exporters.spec import STDOUT, OutputKind, OutputSpec, parse_output
from wherry.oci.digest import parse_digest
from wherry.oci.image import Image, load_image
from wherry.oci.reference import Reference, parse_reference
from wherry.process.cancel import CancelToken
from wherry.store.store import Store

# An archive is made from blobs alone; its members carry the time of their digests: none.
_ARCHIVE_TIME = 0


def export(
    request: BuildRequest,
    output: Output,
    store: Store,
    references: tuple[Reference, ...],
    registries: Registries,
) -> Delivered:
    """Write every output.

    Layers of the base that are not here are fetched where an output holds their bytes.
    """
    image = _image(output, store)
    delivered = Delivered(references)
    for text in request.outputs:
        spec = parse_output(text, request.cwd)
        if spec.kind in (OutputKind.REGISTRY, OutputKind.IMAGE):
            continue
        fetched = complete(store, (image.manifest,), registries, references[0].familiar)
        named = tuple(parse_reference(name) for name in spec.names)
        exported = ExportedImage(image, store.blobs, (*references, *named))
        _write(request, spec, exported, registries.around.cancel)
        outputs = (*delivered.outputs, spec.dest)
        delivered = Delivered(references, outputs, fetched=delivered.fetched or fetched > 0)
    return delivered


def write_facts(
    request: BuildRequest, output: Output, store: Store, references: tuple[Reference, ...]
) -> None:
    """Write the files about the image, which are for scripts: `references` are where it is now."""
    image = _image(output, store)
    if request.metadata_file:
        write_metadata_file(image, references, _absolute(request, request.metadata_file))
    if request.iidfile:
        write_iidfile(image.digest, _absolute(request, request.iidfile))


def _image(output: Output, store: Store) -> Image:
    return load_image(
        store.blobs.read(parse_digest(output.manifest)),
        store.blobs.read(parse_digest(output.config)),
    )


def _write(
    request: BuildRequest, spec: OutputSpec, exported: ExportedImage, cancel: CancelToken
) -> None:
    match spec.kind:
        case OutputKind.LOCAL:
            write_local(exported, spec.dest, cancel)
        case OutputKind.OCI if not spec.tar:
            write_oci_directory(exported, spec.dest, cancel)
        case OutputKind.OCI if spec.dest == STDOUT:
            if request.stdout is None:
                raise UsageError("dest=- needs a stream to write to",
                                 hint="name a file, or set BuildRequest.stdout")  # fmt: skip
            stream_oci_archive(exported, request.stdout, _ARCHIVE_TIME, cancel)
        case OutputKind.OCI:
            write_oci_archive(exported, spec.dest, _ARCHIVE_TIME, cancel)


def _absolute(request: BuildRequest, path: str) -> str:
    return os.path.normpath(os.path.join(request.cwd, path))
