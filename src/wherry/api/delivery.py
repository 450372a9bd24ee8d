# SPDX-License-Identifier: Apache-2.0
"""Delivering a built image: its outputs, registries, the files about it, its tags in the store.

In this order: a file about the image says that it is where the file says, and where anything fails,
tags in the store still mean what they meant before.

On the no-change path this costs a look at the tags; exporters and HTTP are imported where an output
or `--push` asks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from wherry.api.recorded import Output
from wherry.api.request import BuildRequest, PushResult
from wherry.errors import UsageError
from wherry.oci.digest import parse_digest
from wherry.oci.reference import Reference, parse_reference
from wherry.store.store import Store

if TYPE_CHECKING:
    from wherry.api.registries import Registries
    from wherry.oci.image import Descriptor


class Delivered(NamedTuple):
    """Where an image went: `references` are its names as told to the user, `outputs` paths.

    `fetched` says whether layers of the base had to be fetched for it; `loaded` are names as an
    engine knows them; `converted` outputs whose layers were compressed anew, with the digest that
    the image has there, `kept` the digest under which the store keeps it instead of its own.
    """

    references: tuple[Reference, ...]
    outputs: tuple[str, ...] = ()
    pushed: tuple[PushResult, ...] = ()
    fetched: bool = False
    loaded: tuple[str, ...] = ()
    converted: tuple[tuple[str, str], ...] = ()
    kept: str = ""


def deliver(
    request: BuildRequest, outputs: tuple[Output, ...], store: Store, registries: Registries
) -> tuple[Delivered, ...]:
    """Write and push what was asked for and tag the images.

    Raises `MachineError` where an output cannot be written, `NetworkError` where a registry
    refuses; the images stay in the store, untagged.
    """
    items = tuple(
        (output, tuple(parse_reference(name) for name in _names(request, output)))
        for output in outputs
    )
    delivered = tuple(Delivered(references) for _, references in items)
    if request.outputs or request.load:
        from wherry.api.exporting import export_all  # noqa: PLC0415 - only where an output asks

        delivered = export_all(request, items, store, registries)
        request.trace("exported")
    delivered = tuple(
        _pushed(request, output, one, store, registries)
        for output, one in zip(outputs, delivered, strict=True)
    )
    if request.metadata_file or request.iidfile:
        from wherry.api.exporting import write_facts  # noqa: PLC0415 - only where asked

        told = tuple(
            (output, one.references) for output, one in zip(outputs, delivered, strict=True)
        )
        write_facts(request, told, store)
    return tuple(
        _tagged(request, item, one, store, registries)
        for item, one in zip(items, delivered, strict=True)
    )


def _tagged(
    request: BuildRequest,
    item: tuple[Output, tuple[Reference, ...]],
    delivered: Delivered,
    store: Store,
    registries: Registries,
) -> Delivered:
    """The image under its names in the store, in the compression that `type=image` names."""
    output, references = item
    kept = _kept(request, output, store, registries)
    _tag(output, store, references, kept)
    return delivered if kept is None else delivered._replace(kept=str(kept.digest))


def _kept(
    request: BuildRequest, output: Output, store: Store, registries: Registries
) -> Descriptor | None:
    """What the store's tags shall mean, where `type=image` names a compression."""
    if not any("compression" in text for text in request.outputs):
        return None
    from wherry.api.exporting import recompressed  # noqa: PLC0415 - as above
    from wherry.exporters.spec import OutputKind, parse_output  # noqa: PLC0415 - as above

    for text in request.outputs:
        spec = parse_output(text, request.cwd)
        if spec.kind is OutputKind.IMAGE and spec.recompression is not None:
            return recompressed(output, spec, store, registries)
    return None


def _pushed(
    request: BuildRequest,
    output: Output,
    delivered: Delivered,
    store: Store,
    registries: Registries,
) -> Delivered:
    """Push the image to all targets, each in the compression that its output names."""
    results: tuple[PushResult, ...] = ()
    told: tuple[Reference, ...] = ()
    for descriptor, targets in _targets(request, output, store, registries).items():
        from wherry.api.pushing import push_stored  # noqa: PLC0415 - HTTP is imported here

        results += push_stored(store, descriptor, targets, registries)
        told += targets
        request.trace("pushed")
        if str(descriptor.digest) != output.manifest:
            pairs = tuple((target.familiar, str(descriptor.digest)) for target in targets)
            delivered = delivered._replace(converted=(*delivered.converted, *pairs))
    if not told:
        return delivered
    return delivered._replace(references=told, pushed=results)


def _names(request: BuildRequest, output: Output) -> tuple[str, ...]:
    """What the store calls the image: `type=image,name=` replaces the tags, as in buildx."""
    named: tuple[str, ...] = ()
    if request.outputs:
        from wherry.exporters.spec import OutputKind, parse_output  # noqa: PLC0415 - as above

        specs = (parse_output(text, request.cwd) for text in request.outputs)
        named = tuple(name for spec in specs if spec.kind is OutputKind.IMAGE
                      for name in spec.names)  # fmt: skip
    return named or request.tags or output.tags or (output.default_tag,)


def _targets(
    request: BuildRequest, output: Output, store: Store, registries: Registries
) -> dict[Descriptor, tuple[Reference, ...]]:
    """Everything to push to, by `--push` and by outputs, each once, by what is pushed there."""
    found: dict[Reference, Descriptor] = {}
    if request.push:
        image = described(output)
        found |= dict.fromkeys(push_targets(request, output, (), registries), image)
    if request.outputs:
        from wherry.api.exporting import recompressed  # noqa: PLC0415 - as above
        from wherry.exporters.spec import OutputKind, parse_output  # noqa: PLC0415 - as above

        for text in request.outputs:
            spec = parse_output(text, request.cwd)
            if spec.kind is OutputKind.REGISTRY:
                image = recompressed(output, spec, store, registries)
                for target in push_targets(request, output, spec.names, registries):
                    found[target] = image
    by_image: dict[Descriptor, tuple[Reference, ...]] = {}
    for target, image in found.items():
        by_image[image] = (*by_image.get(image, ()), target)
    return by_image


def described(output: Output) -> Descriptor:
    """The descriptor of a built image, or of its index."""
    from wherry.oci.image import (  # noqa: PLC0415 - not for an unchanged image
        INDEX,
        MANIFEST,
        Descriptor,
    )
    from wherry.oci.platform import parse_platform  # noqa: PLC0415 - as above

    digest = parse_digest(output.manifest)
    if "," in output.platform:
        return Descriptor(INDEX, digest, output.manifest_size)
    platform = parse_platform(output.platform)
    return Descriptor(MANIFEST, digest, output.manifest_size, platform=platform)


def push_targets(
    request: BuildRequest, output: Output, named: tuple[str, ...], registries: Registries
) -> tuple[Reference, ...]:
    """Where to push to: `named`, else the image's tags, else its default name.

    Names without a registry mean the default one of the settings. Pushing what nobody named to
    Docker Hub is never meant: the default name needs such a default registry.
    """
    names = named or request.tags or output.tags
    if not names and not registries.settings.default:
        raise nameless_push()
    return tuple(registries.reference(name) for name in names or (output.default_tag,))


def nameless_push() -> UsageError:
    """The error for a push of an image that nobody gave a name."""
    return UsageError(
        "there is no name to push to",
        hint="give one: -t registry.example.com/team/app:1.0; "
        "or set `default` in [registry] of wherry.toml",
    )


def _tag(
    output: Output,
    store: Store,
    references: tuple[Reference, ...],
    instead: Descriptor | None = None,
) -> None:
    digest = instead.digest if instead is not None else parse_digest(output.manifest)
    missing = [name for name in references if not store.images.is_tagged(name, digest)]
    if not missing:
        return
    descriptor = instead or described(output)
    for name in missing:
        store.images.tag(name, descriptor, time.time())
