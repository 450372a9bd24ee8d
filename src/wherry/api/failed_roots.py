# SPDX-License-Identifier: Apache-2.0
"""What is left of a failed RUN, as an image for whoever wants to look."""

from __future__ import annotations

import time
from typing import Final

from wherry.engines.local.executing import StepFailed
from wherry.engines.local.files import FileSteps
from wherry.engines.local.results import Built, Change
from wherry.engines.local.settling import settled
from wherry.oci.image import ImageConfig, Layer, RunConfig, make_image
from wherry.oci.reference import parse_reference
from wherry.store.store import Store

NAME: Final = "wherry-failed"


def keep_failed_root(error: StepFailed, shared: FileSteps, store: Store, name: str) -> str:
    """Make an image of the root that a failed step left; the name that `wherry run` knows it by.

    `name` is the build's own. Empty where nothing was kept.
    """
    left = error.built
    if left is None:
        return ""
    layers = _layers(left, shared)
    op = error.op
    run = RunConfig(env=op.env, cmd=op.args, working_dir=op.cwd, user=op.user)
    created = "1970-01-01T00:00:00Z"
    config = ImageConfig(op.platform, created, run, (), (), "")
    image = make_image(layers, config, ())
    store.blobs.put(image.config_bytes)
    store.blobs.put(image.manifest_bytes)
    reference = parse_reference(f"{NAME}/{name}:latest")
    store.images.keep(image.descriptor)
    store.images.tag(reference, image.descriptor, time.time())
    return reference.familiar


def _layers(left: Built, shared: FileSteps) -> tuple[Layer, ...]:
    """All slabs of the root as layers."""
    found: list[Layer] = []
    stack = left.stack
    for number, slab in enumerate(stack):
        if isinstance(slab, Change):
            alone = Built((), slab.size, below=stack[:number], change=slab)
            found += settled(shared, alone, shared.cancel).layers
        else:
            found.append(slab)
    return tuple(found)


def reopened(error: StepFailed, name: str) -> StepFailed:
    """The error, telling how to look at the root that was kept as the image `name`."""
    hint = f"look around in it: wherry run -it --entrypoint /bin/sh {name}"
    told = StepFailed(error.what, why=error.why, hint=hint, op=error.op)
    told.where, told.step = error.where, error.step
    return told
