# SPDX-License-Identifier: Apache-2.0
"""`wherry images`: the tagged images of the local store."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime

import click

from wherry.api.library import ImageSummary, list_images
from wherry.cli.options import default_store, json_option, store_option
from wherry.cli.progress.units import format_size
from wherry.oci.digest import parse_digest

_HEADER = ("NAME", "DIGEST", "PLATFORM", "SIZE", "CREATED")
_AGES = (("year", 365 * 86400), ("month", 30 * 86400), ("week", 7 * 86400), ("day", 86400),
         ("hour", 3600), ("minute", 60), ("second", 1))  # fmt: skip


@click.command("images", short_help="list the images of the local store")
@click.option("-q", "--quiet", is_flag=True, help="Print digests only.")
@json_option
@store_option
def command(quiet: bool, as_json: bool, store: str | None) -> None:
    """List the images of the local store, the newest first.

    SIZE is the compressed size: what a registry would hold. `lazy: 117.0 MB elsewhere` marks an
    image whose base has layers that are not in this store, only in their registry: what needs them
    fetches them, or `wherry pull --full NAME` does.
    """
    images = list_images(store or default_store(os.environ))
    if quiet:
        lines = list(dict.fromkeys(image.digest for image in images))
    elif as_json:
        lines = [json.dumps([_as_json(image) for image in images], ensure_ascii=False)]
    else:
        lines = _table([_HEADER, *(_row(image, time.time()) for image in images)])
    for line in lines:
        click.echo(line)


def format_age(seconds: float) -> str:
    """`3 hours ago`; a time in the future, from a clock that was set back, is `just now`."""
    for unit, length in _AGES:
        count = int(seconds // length)
        if count >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def _row(image: ImageSummary, now: float) -> tuple[str, ...]:
    return (
        image.name,
        parse_digest(image.digest).short,
        ",".join(image.platforms) or "?",
        _weight(image),
        format_age(now - image.created_at),
    )


def _weight(image: ImageSummary) -> str:
    if image.size is None:
        return "damaged"
    lazy = f", lazy: {format_size(image.missing)} elsewhere" if image.missing else ""
    return format_size(image.size) + lazy


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    return [
        "   ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _as_json(image: ImageSummary) -> dict[str, object]:
    created = datetime.fromtimestamp(image.created_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "name": image.name,
        "digest": image.digest,
        "platforms": list(image.platforms),
        "size": image.size,
        "missing": image.missing,
        "created": created,
    }
