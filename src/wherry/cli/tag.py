# SPDX-License-Identifier: Apache-2.0
"""`wherry tag`: give an image of the local store another name."""

from __future__ import annotations

import os

import click

from wherry.api.library import tag_image
from wherry.cli.options import default_store, known, store_option


@click.command("tag", short_help="give an image another name")
@click.argument("source", metavar="SRC")
@click.argument("name", metavar="DST")
@store_option
def command(source: str, name: str, store: str | None) -> None:
    """Let DST, a NAME[:TAG], mean the image SRC (a name or a digest)."""
    directory = store or default_store(os.environ)
    click.echo(tag_image(directory, known(source, directory), name))
