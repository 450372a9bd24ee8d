# SPDX-License-Identifier: Apache-2.0
"""`wherry init`: writes the files that a project needs for wherry."""

from __future__ import annotations

import json
import os

import click

from wherry.api.ko_migration import migrate_ko
from wherry.cli.options import tell
from wherry.cli.place import working_directory
from wherry.errors import UsageError

_EPILOG = """\b
Examples:
  wherry init --from-ko            write wherry.toml from .ko.yaml, here
  wherry init --from-ko services   in that directory
"""


@click.command("init", epilog=_EPILOG, short_help="write wherry.toml from ko's settings")
@click.option("--from-ko", "from_ko", is_flag=True, help="Read .ko.yaml, and the KO_ variables.")
@click.option("--force", is_flag=True, help="Replace a wherry.toml that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.argument("directory", default=".", metavar="[DIR]")
def command(directory: str, from_ko: bool, force: bool, as_json: bool) -> None:
    """Write DIR/wherry.toml from the project's settings for ko.

    Each thing that wherry.toml cannot say is told in one line. stdout gets the file's path.
    """
    if not from_ko:
        raise UsageError("init needs to know what to begin with", hint="say: wherry init --from-ko")
    place = os.path.normpath(os.path.join(working_directory(), directory))
    if not os.path.isdir(place):
        raise UsageError(f"{directory} is no directory", hint="name the one with the .ko.yaml")
    migrated = migrate_ko(place, os.environ, force=force)
    tell(*migrated.notes)
    if as_json:
        click.echo(json.dumps(migrated._asdict()))
    else:
        click.echo(migrated.path)
