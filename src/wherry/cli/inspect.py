# SPDX-License-Identifier: Apache-2.0
"""`wherry inspect`: in this release, a manifest's exact bytes as its registry has them."""

from __future__ import annotations

import sys

import click

from wherry.api.inspecting import raw_manifest
from wherry.cli.options import Common, around, ca_option, quiet_option, store_option
from wherry.errors import UsageError


@click.command("inspect", short_help="show a manifest as its registry has it")
@click.argument("name", metavar="REF")
@click.option("--raw", is_flag=True, help="Print the manifest's bytes, exactly.")
@click.option("--platform", default="", metavar="OS/ARCH[/VARIANT]",
              help="Of an index, this platform's manifest instead of the index.")  # fmt: skip
@ca_option
@quiet_option
@store_option
def command(
    name: str, raw: bool, platform: str, ca: tuple[str, ...], quiet: bool, store: str | None
) -> None:
    """Print what the registry has under REF, to the byte.

    The registry is asked, not the store, and --raw is needed: a summary is not in this release.
    What `wherry inspect --raw REF | sha256sum` says is the image's digest.
    """
    if not raw:
        raise UsageError("inspect shows nothing but --raw in this release",
                         hint="print the manifest: wherry inspect --raw REF")  # fmt: skip
    with around(Common(ca=ca, quiet=quiet, store=store)) as surroundings:
        manifest = raw_manifest(name, surroundings, platform=platform)
    # No newline is added: the bytes are the manifest's own.
    sys.stdout.buffer.write(manifest.data)
    sys.stdout.buffer.flush()
