# SPDX-License-Identifier: Apache-2.0
"""`wherry rmi`: take names away from images."""

from __future__ import annotations

import os

import click

from wherry.api.library import remove_images
from wherry.cli.options import default_store, known, store_option


@click.command("rmi", short_help="remove names of images")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("-f", "--force", is_flag=True,
              help="With a digest: remove the image though it has several names.")  # fmt: skip
@store_option
def command(names: tuple[str, ...], force: bool, store: str | None) -> None:
    """Remove images by NAME[:TAG] or by digest.

    An image whose last name goes is removed; `wherry cache prune` gives its room back.
    """
    directory = store or default_store(os.environ)
    meant = tuple(known(name, directory) for name in names)
    for removed in remove_images(directory, meant, force=force):
        click.echo(removed)
