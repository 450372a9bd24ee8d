# SPDX-License-Identifier: Apache-2.0
"""Loading images into a container engine of this machine, and what they are called there.

An image goes there as a docker archive, streamed: nothing is written on a disk of ours. What the
engine has is not sent: not the image if it knows it already, nor layers that its image store has.
Of an image for several platforms the engine gets the one of its own architecture, or all where its
image store holds such images: Docker with containerd's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

from wherry.api.engine_image import Loadable
from wherry.api.registries import Registries, RegistryAround
from wherry.api.transfer import transfer
from wherry.errors import MachineError, UsageError
from wherry.exporters.archive import write_oci_archive
from wherry.exporters.blobs import ExportedImage, exported_image
from wherry.exporters.docker_archive import write_docker_archive, write_partial_archive
from wherry.exporters.engine import Engine, is_id, known_layers, names_for
from wherry.exporters.engine_endpoint import endpoints
from wherry.exporters.engine_http import EngineHttp
from wherry.exporters.engine_watch import PATIENCE, Patience
from wherry.exporters.spec import OutputSpec
from wherry.oci.digest import Digest
from wherry.oci.reference import Reference


class Loaded(NamedTuple):
    """An image in an engine: its names there, and the digest that the engine has for its ID."""

    names: tuple[str, ...]
    digest: Digest


def load_images(
    wanted: tuple[Loadable, ...],
    spec: OutputSpec,
    registries: Registries,
    patience: Patience = PATIENCE,
) -> tuple[Loaded, ...]:
    """Load images into the engine that `spec` and the environment mean.

    The names of each as the engine knows them, in the order of its references, the image's own
    before those of the output. Raises `MachineError` where there is no engine or it refuses or
    stops answering, `UsageError` for an engine that is named wrongly and for an index that lacks
    its architecture, `NetworkError` where a layer has to be fetched, `Cancelled`.
    """
    engine = _connected(spec.context, registries.around, patience)
    return tuple(_load(engine, one, registries.around) for one in wanted)


def check_engines(specs: Iterable[OutputSpec], around: RegistryAround) -> None:
    """Raise what `load_images` would where an engine is named wrongly or does not answer."""
    for context in dict.fromkeys(spec.context for spec in specs if spec.is_load):
        _connected(context, around, PATIENCE)


def _connected(context: str, around: RegistryAround, patience: Patience) -> Engine:
    """The first engine that answers."""
    found = endpoints(around.env, os.getuid(), context)
    failures: list[MachineError] = []
    for endpoint in found:
        # A usual place where nothing is was never meant.
        if endpoint.path and not endpoint.named_by and not os.path.exists(endpoint.path):
            continue
        try:
            return Engine(EngineHttp(endpoint, around.cancel, patience))
        except MachineError as error:
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        why = "\n".join(f"{error.what}: {error.why}" if error.why else error.what
                        for error in failures)  # fmt: skip
        raise MachineError("no container engine could be reached", why=why, hint=failures[0].hint)
    raise MachineError(
        "there is no container engine to load into",
        why="no socket at " + ", ".join(endpoint.path for endpoint in found),
        hint="start Docker, or `systemctl --user start podman.socket`; or set DOCKER_HOST",
    )


class _Load(NamedTuple):
    """One image for an engine, of the platforms that it takes."""

    engine: Engine
    wanted: Loadable
    image: ExportedImage
    around: RegistryAround


def _load(engine: Engine, wanted: Loadable, around: RegistryAround) -> Loaded:
    image = _for_engine(wanted.image, engine)
    load = _Load(engine, wanted, image, around)
    ids = _ids(image)
    title = ", ".join(item.familiar for item in image.references) or image.title
    with transfer(around.sink, f"load {title} into {engine.facts.name}") as moving:
        known = _known(engine, ids)
        if known is not None:
            for reference in image.references:
                engine.tag(str(known), reference)
            moving.remark = "it has the image already"
        else:
            ids |= _sent(load, moving)
            moving.remark = f"{moving.moved / 1e6:.1f} MB"
        names = tuple(_checked_name(engine, reference, ids) for reference in image.references)
        return Loaded(names, known or _known(engine, ids) or image.root.digest)


def _known(engine: Engine, ids: frozenset[Digest]) -> Digest | None:
    """The one of `ids` by which the engine has an image."""
    return next((digest for digest in ids if engine.image(str(digest))), None)


def _ids(image: ExportedImage) -> frozenset[Digest]:
    return frozenset((image.root.digest, image.images[0].manifest.config.digest))


def _sent(load: _Load, moved: Callable[[int], None]) -> frozenset[Digest]:
    """Send what the engine needs; what it may call the image now."""
    diff_ids = tuple(layer.diff_id for image in load.image.images for layer in image.layers)
    count = known_layers(load.engine, diff_ids) if load.engine.facts.keeps_layers else 0
    if count:
        try:
            return _send(load, frozenset(diff_ids[count:]), moved)
        except MachineError:
            load.around.cancel.check()
            # The layers may have gone meanwhile: then the engine misses them in the archive. One
            # that does not answer any more fails at this question, and is not asked again.
            load.engine.check()
    return _send(load, frozenset(diff_ids), moved)


def _send(
    load: _Load, needed: frozenset[Digest], moved: Callable[[int], None]
) -> frozenset[Digest]:
    ready = load.wanted.ready(load.image, needed)
    layers = (layer for image in ready.images for layer in image.layers)
    without = frozenset(item.descriptor for item in layers if item.diff_id not in needed)

    def produce(write: Callable[[bytes], object]) -> None:
        def counted(data: bytes) -> None:
            write(data)
            moved(len(data))

        if without:
            write_partial_archive(ready, without, counted, load.around.cancel)
        elif ready.is_split:
            write_oci_archive((ready,), counted, load.around.cancel)
        else:
            write_docker_archive((ready,), counted, load.around.cancel)

    load.engine.load(ready.title, produce)
    return _ids(ready)


def _for_engine(image: ExportedImage, engine: Engine) -> ExportedImage:
    """The image as its store can hold it: of the engine's platform, of the only one, or of all."""
    if not image.is_split or engine.facts.keeps_indexes:
        return image
    architecture = engine.facts.architecture
    fitting = [item for item in image.images if item.config.platform.architecture == architecture]
    if not fitting:
        platforms = ", ".join(str(item.config.platform) for item in image.images)
        raise UsageError(
            f"{image.title} has no image for the engine at {engine.endpoint}",
            why=f"the engine runs {architecture}, and these are for {platforms}",
            hint=f"add --platform linux/{architecture}",
        )
    # The least variant runs wherever another does.
    least = min(fitting, key=lambda item: item.config.platform.variant)
    return exported_image(least, image.blobs, image.references, image.name)


def _checked_name(engine: Engine, reference: Reference, ids: frozenset[Digest]) -> str:
    """What the engine calls the image; raises `MachineError` where it means another by that."""
    names = names_for(reference, engine.facts)
    # All are asked for: what Podman has as localhost/NAME hides docker.io/library/NAME.
    found = [image for image in map(engine.image, names) if image is not None]
    known = {name for image in found if is_id(image, ids) for name in image.names}
    name = next((name for name in names if name in known), None)
    if name is None:
        raise MachineError(
            f"the engine at {engine.endpoint} does not know {reference.familiar} after loading it",
            why="it has another image of that name" if found else "",
            hint="look into its log, and try again",
        )
    return name
