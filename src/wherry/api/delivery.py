# SPDX-License-Identifier: Apache-2.0
"""Delivering a built image: its outputs, registries, the files about it, its tags in the store.

In this order: a file about the image says that it is where the file says, and where anything fails,
tags in the store still mean what they meant before.

On the no-change path this costs a look at the tags; exporters and HTTP are imported where an output
or `--push` asks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from wherry.api.recorded import Output
from wherry.api.request import BuildRequest, PushResult
from wherry.errors import UsageError
from wherry.oci.digest import Digest, parse_digest
from wherry.oci.reference import Reference, parse_reference
from wherry.store.store import Store

if TYPE_CHECKING:
    from wherry.api.registries import Registries
    from wherry.exporters.spec import OutputSpec
    from wherry.oci.image import Descriptor


class Delivered(NamedTuple):
    """Where an image went: `references` are its names as told to the user, `outputs` paths.

    `loaded` are names as an engine knows them, `engine_id` its ID there; `converted` outputs whose
    layers were compressed anew, with what the image is there. `root` is what `references` stand
    for, None where that is the image as it was built.
    """

    references: tuple[Reference, ...]
    outputs: tuple[str, ...] = ()
    pushed: tuple[PushResult, ...] = ()
    loaded: tuple[str, ...] = ()
    converted: tuple[tuple[str, Descriptor], ...] = ()
    engine_id: Digest | None = None
    root: Descriptor | None = None

    @property
    def only(self) -> Descriptor | None:
        """What a file about the image has to mean: `root`, or what all the outputs hold."""
        found = {root for _, root in self.converted}
        is_one = len(found) == 1 and len(self.converted) == len(self.outputs)
        return next(iter(found)) if self.root is None and is_one else self.root


class _Specs(NamedTuple):
    """Those outputs that are no files: images kept in the store, and images in registries."""

    kept: tuple[OutputSpec, ...] = ()
    pushed: tuple[OutputSpec, ...] = ()


def deliver(
    request: BuildRequest, outputs: tuple[Output, ...], store: Store, registries: Registries
) -> tuple[Delivered, ...]:
    """Write and push what was asked for and tag the images.

    Raises `MachineError` where an output cannot be written, `NetworkError` where a registry
    refuses; the images stay in the store, untagged.
    """
    refuse_one_name(request, [output.name for output in outputs])
    specs = _specs(request)
    items = tuple(
        (output, tuple(parse_reference(name) for name in _names(request, specs, output)))
        for output in outputs
    )
    delivered = tuple(Delivered(references) for _, references in items)
    if request.outputs or request.load:
        from wherry.api.exporting import export_all  # noqa: PLC0415 - only where an output asks

        delivered = export_all(request, items, store, registries)
        request.trace("exported")
    kept = tuple(_kept(output, specs, store, registries) for output in outputs)
    delivered = tuple(
        _pushed(
            request,
            one._replace(root=root),
            _pushes(request, specs, output, store, registries),
            store,
            registries,
        )
        for output, one, root in zip(outputs, delivered, kept, strict=True)
    )
    if request.metadata_file or request.iidfile:
        from wherry.api.exporting import write_facts  # noqa: PLC0415 - only where asked

        told = tuple(zip(outputs, delivered, strict=True))
        write_facts(request, told, store, registries.around.cancel)
    for (output, references), root in zip(items, kept, strict=True):
        _tag(store, references, output, root)
    return delivered


def _specs(request: BuildRequest) -> _Specs:
    if not request.outputs:
        return _Specs()
    from wherry.exporters.spec import OutputKind, parse_outputs  # noqa: PLC0415 - as above

    specs = parse_outputs(request.outputs, request.cwd)
    return _Specs(
        tuple(spec for spec in specs if spec.kind is OutputKind.IMAGE),
        tuple(spec for spec in specs if spec.kind is OutputKind.REGISTRY),
    )


def _names(request: BuildRequest, specs: _Specs, output: Output) -> tuple[str, ...]:
    """What the store calls the image: `type=image,name=` replaces the tags, as in buildx."""
    named = tuple(name for spec in specs.kept for name in spec.names)
    return named or request.tags or output.tags or (output.default_tag,)


def _kept(output: Output, specs: _Specs, store: Store, registries: Registries) -> Descriptor | None:
    """What the store keeps where `type=image` names another compression."""
    spec = next((spec for spec in specs.kept if spec.recompression is not None), None)
    return None if spec is None else _converted(output, spec, store, registries)


def _converted(
    output: Output, spec: OutputSpec, store: Store, registries: Registries
) -> Descriptor:
    """The image in the compression that an output names."""
    if spec.recompression is None:
        return described(output)
    from wherry.api.exporting import recompressed  # noqa: PLC0415 - as above

    return recompressed(output, spec, store, registries)


def _pushes(
    request: BuildRequest, specs: _Specs, output: Output, store: Store, registries: Registries
) -> dict[Descriptor, tuple[Reference, ...]]:
    """Everything to push to, by `--push` and by outputs, each once, by what is pushed there."""
    found: dict[Reference, Descriptor] = {}
    if request.push:
        image = described(output)
        found |= dict.fromkeys(push_targets(request, output, (), registries), image)
    for spec in specs.pushed:
        image = _converted(output, spec, store, registries)
        found |= dict.fromkeys(push_targets(request, output, spec.names, registries), image)
    by_image: dict[Descriptor, tuple[Reference, ...]] = {}
    for target, image in found.items():
        by_image[image] = (*by_image.get(image, ()), target)
    return by_image


def _pushed(
    request: BuildRequest,
    delivered: Delivered,
    pushes: dict[Descriptor, tuple[Reference, ...]],
    store: Store,
    registries: Registries,
) -> Delivered:
    """Push all of `pushes`; what is told is then where the image is in registries."""
    told: tuple[Reference, ...] = ()
    if pushes:
        # Of several pushes the first is told; its names stand first, too.
        delivered = delivered._replace(root=next(iter(pushes)))
    for image, targets in pushes.items():
        from wherry.api.pushing import push_stored  # noqa: PLC0415 - HTTP is imported here

        pushed = push_stored(store, image, targets, registries)
        request.trace("pushed")
        told += targets
        delivered = delivered._replace(references=told, pushed=(*delivered.pushed, *pushed))
    return delivered


def refuse_one_name(request: BuildRequest, images: Sequence[str]) -> None:
    """Raise `UsageError` where `--tag` would name several images, called `images`."""
    if request.tags and len(images) > 1:
        raise UsageError(
            f"{len(images)} images cannot all be named {request.tags[0]}",
            why=", ".join(images),
            hint="leave -t out, or give each its tags below [image.NAME] of wherry.toml",
        )


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
    store: Store, references: tuple[Reference, ...], output: Output, root: Descriptor | None
) -> None:
    """Give the image its names, where they mean another one yet."""
    digest = parse_digest(output.manifest) if root is None else root.digest
    missing = [name for name in references if not store.images.is_tagged(name, digest)]
    for name in missing:
        store.images.tag(name, root or described(output), time.time())
