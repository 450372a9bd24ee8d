# SPDX-License-Identifier: Apache-2.0
"""`wherry cache`: what the local store takes, and how to make it smaller."""

from __future__ import annotations

import json
import os

import click

from wherry.api.library import Pruned, prune_store, store_usage
from wherry.cli.options import default_store, json_option, parse_size, store_option
from wherry.cli.progress.units import format_size


@click.group("cache", short_help="show and prune the local store")
def command() -> None:
    """Show and prune the local store."""


@command.command("du", short_help="show how much room the store takes")
@json_option
@store_option
def du(as_json: bool, store: str | None) -> None:
    """Show how much room the store takes, by kind, as bytes on disk."""
    usage = store_usage(store or default_store(os.environ))
    sizes = {**usage._asdict(), "total": usage.total}
    if as_json:
        click.echo(json.dumps(sizes))
        return
    for kind, size in sizes.items():
        click.echo(f"{kind:<8} {format_size(size):>10}")


@command.command("prune", short_help="make the store smaller")
@click.option("-a", "--all", "everything", is_flag=True,
              help="Remove everything but tagged images.")  # fmt: skip
@click.option("--keep-storage", metavar="SIZE",
              help="Remove the least recently used until SIZE (10GB, 2GiB) is left.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@json_option
@store_option
def prune(
    everything: bool, keep_storage: str | None, dry_run: bool, as_json: bool, store: str | None
) -> None:
    """Remove what nobody needs from the store.

    Without flags: images without a name, blobs that nothing refers to, and the least recently used
    beyond the store's size limit. Tagged images stay (see `wherry rmi`), and so does everything
    that a running build uses.
    """
    target = None if keep_storage is None else parse_size(keep_storage)
    directory = store or default_store(os.environ)
    pruned = prune_store(directory, everything=everything, target=target, dry_run=dry_run)
    click.echo(json.dumps(pruned._asdict()) if as_json else _told(pruned, dry_run=dry_run))


def _told(pruned: Pruned, *, dry_run: bool) -> str:
    counts = (
        (pruned.blobs, "blob", "blobs"),
        (pruned.records, "record", "records"),
        (pruned.images, "image without a name", "images without a name"),
        (pruned.work, "work directory", "work directories"),
        (pruned.leftovers, "leftover", "leftovers"),
    )
    parts = [f"{count} {one if count == 1 else many}" for count, one, many in counts if count]
    verb = "would free" if dry_run else "freed"
    what = f" ({', '.join(parts)})" if parts else ""
    return f"{verb} {format_size(pruned.freed)}{what}; {format_size(pruned.remaining)} left"
