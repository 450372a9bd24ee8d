# SPDX-License-Identifier: Apache-2.0
"""`wherry cache`: what the local store holds and takes, and how to make it smaller.

Also what Go caches elsewhere hold (`cache_inspect`), and commands with them (`cache_run`).
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime

import click

from wherry.api.library import Pruned, StoredItem, list_store, prune_store, store_usage
from wherry.cli.cache_inspect import inspect
from wherry.cli.cache_run import run
from wherry.cli.images import format_age
from wherry.cli.options import default_store, json_option, parse_size, store_option, tell
from wherry.cli.place import working_directory
from wherry.cli.progress.units import format_size


@click.group("cache", short_help="show and prune the local store, show Go caches elsewhere")
def command() -> None:
    """Show and prune the local store; show Go caches that travel, and run commands with them."""


command.add_command(inspect)
command.add_command(run)


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
        click.echo(f"{kind:<9} {format_size(size):>10}")


@command.command("ls", short_help="list what the store holds")
@json_option
@store_option
def ls(as_json: bool, store: str | None) -> None:
    """List what the store holds, in the order in which pruning would remove it.

    Snapshots are what steps left, cache mounts what `RUN --mount=type=cache` keeps, Go modules what
    came from Go caches that travel. Blobs of tagged images are among the lines, though they stay.
    """
    items = list_store(store or default_store(os.environ))
    if as_json:
        click.echo(json.dumps([_as_json(item) for item in items]))
        return
    now = time.time()
    width = max((len(item.kind) for item in items), default=4)
    click.echo(f"{'KIND':<{width}}   {'SIZE':>10}   {'USED':<15}   NAME")
    for item in items:
        used = "in use" if item.used_at is None else format_age(now - item.used_at)
        click.echo(
            f"{item.kind:<{width}}   {format_size(item.size):>10}   {used:<15}   {item.name}"
        )


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

    Without flags: images without a name, blobs that nothing refers to, and beyond the store's size
    limit (`[store] size` of config.toml or wherry.toml) the least recently used of all: records and
    blobs, snapshots of steps, cache mounts, Go modules, work directories. Tagged images stay (see
    `wherry rmi`), and so does everything that a running build uses.
    """
    target = None if keep_storage is None else parse_size(keep_storage)
    directory = store or default_store(os.environ)
    pruned = prune_store(
        directory,
        os.environ,
        directory=working_directory(),
        everything=everything,
        target=target,
        dry_run=dry_run,
    )
    click.echo(json.dumps(pruned._asdict()) if as_json else _told(pruned, dry_run=dry_run))
    if pruned.refused:
        tell(pruned.refused)


def _as_json(item: StoredItem) -> dict[str, object]:
    used = None
    if item.used_at is not None:
        used = datetime.fromtimestamp(item.used_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"kind": item.kind, "name": item.name, "size": item.size, "used": used}


def _told(pruned: Pruned, *, dry_run: bool) -> str:
    counts = (
        (pruned.blobs, "blob", "blobs"),
        (pruned.records, "record", "records"),
        (pruned.images, "image without a name", "images without a name"),
        (pruned.snapshots, "snapshot", "snapshots"),
        (pruned.mounts, "cache mount", "cache mounts"),
        (pruned.modules, "directory of Go modules", "directories of Go modules"),
        (pruned.work, "work directory", "work directories"),
        (pruned.leftovers, "leftover", "leftovers"),
    )
    parts = [f"{count} {one if count == 1 else many}" for count, one, many in counts if count]
    verb = "would free" if dry_run else "freed"
    what = f" ({', '.join(parts)})" if parts else ""
    return f"{verb} {format_size(pruned.freed)}{what}; {format_size(pruned.remaining)} left"
