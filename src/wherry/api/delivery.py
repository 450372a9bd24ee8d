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

    `fetched` says whether layers of the base had to be fetched for it.
    """

    references: tuple[Reference, ...]
    outputs: tuple[str, ...] = ()
    pushed: tuple[PushResult, ...] = ()
    fetched: bool = False


def deliver(
    request: BuildRequest, output: Output, store: Store, registries: Registries
) -> Delivered:
    """Write and push what was asked for and tag the image.

    Raises `MachineError` where an output cannot be written, `NetworkError` where a registry
    refuses; the image stays in the store, untagged.
    """
    references = tuple(parse_reference(name) for name in _names(request, output))
    delivered = Delivered(references)
    if request.outputs:
        from wherry.api.exporting import export  # noqa: PLC0415 - only where an output asks

        delivered = export(request, output, store, references, registries)
        request.trace("exported")
    targets = _targets(request, output, registries)
    if targets:
        pushed = push_output(store, output, targets, registries)
        delivered = delivered._replace(references=targets, pushed=pushed)
        request.trace("pushed")
    if request.metadata_file or request.iidfile:
        from wherry.api.exporting import write_facts  # noqa: PLC0415 - only where asked

        write_facts(request, output, store, delivered.references)
    _tag(output, store, references)
    return delivered


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
    request: BuildRequest, output: Output, registries: Registries
) -> tuple[Reference, ...]:
    """Everything to push to, by `--push` and by outputs, each once."""
    targets: dict[Reference, None] = {}
    if request.push:
        targets |= dict.fromkeys(push_targets(request, output, (), registries))
    if request.outputs:
        from wherry.exporters.spec import OutputKind, parse_output  # noqa: PLC0415 - as above

        for text in request.outputs:
            spec = parse_output(text, request.cwd)
            if spec.kind is OutputKind.REGISTRY:
                targets |= dict.fromkeys(push_targets(request, output, spec.names, registries))
    return tuple(targets)


def push_output(
    store: Store, output: Output, targets: tuple[Reference, ...], registries: Registries
) -> tuple[PushResult, ...]:
    """Push a built image to every target."""
    from wherry.api.pushing import push_stored  # noqa: PLC0415 - HTTP is imported here

    return push_stored(store, described(output), targets, registries)


def described(output: Output) -> Descriptor:
    """The descriptor of a built image."""
    from wherry.oci.image import MANIFEST, Descriptor  # noqa: PLC0415 - not for an unchanged image
    from wherry.oci.platform import parse_platform  # noqa: PLC0415 - as above

    platform = parse_platform(output.platform)
    digest = parse_digest(output.manifest)
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


def _tag(output: Output, store: Store, references: tuple[Reference, ...]) -> None:
    digest = parse_digest(output.manifest)
    missing = [name for name in references if not store.images.is_tagged(name, digest)]
    if not missing:
        return
    descriptor = described(output)
    for name in missing:
        store.images.tag(name, descriptor, time.time())
