# SPDX-License-Identifier: Apache-2.0
"""Delivering a built image: its outputs, the files about it, its tags in the store.

Tags come last: where an output fails, they still mean what they meant before.

On the no-change path this costs a look at the tags; exporters are imported where an output asks.
"""

from __future__ import annotations

import time

from wherry.api.recorded import Output
from wherry.api.request import BuildRequest
from wherry.oci.digest import parse_digest
from wherry.oci.reference import Reference, parse_reference
from wherry.process.cancel import CancelToken
from wherry.store.store import Store


def deliver(
    request: BuildRequest, output: Output, store: Store, cancel: CancelToken
) -> tuple[str, ...]:
    """Write what was asked for and tag the image; gives the paths written.

    Raises `MachineError` where an output cannot be written; the image stays in the store, untagged.
    """
    references = tuple(parse_reference(tag) for tag in request.tags or output.tags)
    written: tuple[str, ...] = ()
    if request.outputs or request.metadata_file or request.iidfile:
        from wherry.api.exporting import export  # noqa: PLC0415 - only where an output asks

        written = export(request, output, store, references, cancel)
        request.trace("exported")
    _tag(output, store, references)
    return written


def _tag(output: Output, store: Store, references: tuple[Reference, ...]) -> None:
    digest = parse_digest(output.manifest)
    missing = [name for name in references if not store.images.is_tagged(name, digest)]
    if not missing:
        return
    from wherry.oci.image import MANIFEST, Descriptor  # noqa: PLC0415 - not for an unchanged image
    from wherry.oci.platform import parse_platform  # noqa: PLC0415 - as above

    platform = parse_platform(output.platform)
    descriptor = Descriptor(MANIFEST, digest, output.manifest_size, platform=platform)
    for name in missing:
        store.images.tag(name, descriptor, time.time())
