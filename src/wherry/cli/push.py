# SPDX-License-Identifier: Apache-2.0
"""`wherry push`: an image of the local store to one or several registries."""

from __future__ import annotations

import json

import click

from wherry.api.pushing import push_image
from wherry.cli.options import Common, around, registry_options, tell
from wherry.cli.progress.summary import render_pushes
from wherry.errors import UsageError
from wherry.oci.reference import parse_reference

_EPILOG = """\b
Examples:
  wherry push registry.example.com/shop/api:1.2          under its own name
  wherry push api localhost:5000/api:1.2 localhost:5000/api:latest
  wherry push api:1.2 registry.example.com/shop/api      to the tag latest
"""


@click.command("push", epilog=_EPILOG, short_help="send an image to registries")
@click.argument("image")
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@registry_options
def command(image: str, targets: tuple[str, ...], common: Common) -> None:
    """Push IMAGE, a name or digest of the local store, to TARGETs, or to its own name.

    What a registry has is not sent; tags are written last. stdout gets TARGET@sha256:... for
    each target.
    """
    for target in targets:
        if parse_reference(target).digest is not None:
            raise UsageError(f"a target has no digest: {target!r}",
                             hint="leave out @sha256:...; the image decides it")  # fmt: skip
    with around(common) as surroundings:
        results = push_image(image, tuple(dict.fromkeys(targets)), surroundings)
    if common.tells:
        tell(*render_pushes(results))
    if common.as_json:
        click.echo(json.dumps([result._asdict() for result in results]))
        return
    for result in results:
        click.echo(result.reference)
