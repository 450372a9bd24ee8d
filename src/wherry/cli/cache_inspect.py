# SPDX-License-Identifier: Apache-2.0
"""`wherry cache inspect`: what a Go cache in a registry or directory holds, as tables or JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from wherry.cli.images import format_age
from wherry.cli.options import Common, around, ca_option, json_option
from wherry.cli.progress.output import printable
from wherry.cli.progress.units import format_size
from wherry.errors import BuildError

if TYPE_CHECKING:
    from wherry.api.cache_inspect import CacheContents, CacheSteps, CacheUser

_PACKS = ("PACK", "KIND", "SIZE", "CONTENT", "ENTRIES", "MADE", "IN USE")
_USERS = ("USER", "LAST BUILD", "USES", "SHARE", "OF EACH PACK")
_RECORDS = ("RECORD", "SIZE", "LAYERS", "MADE")
_RIGHT = frozenset({"SIZE", "CONTENT", "ENTRIES", "IN USE", "USES", "SHARE"})
# Beyond these a name is cut: the last column has to stay readable.
_LONGEST_NAME = 60
_SHORT_KEY = 12


@click.command("inspect", short_help="show what a Go cache elsewhere holds")
@click.argument("place", metavar="PLACE")
@click.option("--cache-key", default="", metavar="FILE",
              help="Check that this Ed25519 key has signed the cache.")  # fmt: skip
@json_option
@ca_option
def inspect(place: str, cache_key: str, as_json: bool, ca: tuple[str, ...]) -> None:
    """Show what the Go cache in PLACE holds, written there by --cache-to.

    PLACE is a reference, or a directory that begins with /, ./ or ../. SIZE is what lies there,
    CONTENT what it is unpacked; IN USE is the share of it that some user's last build used, the
    rest is dead weight. A user is a set of programs and platforms. With --cache-key the exit code
    is 1 where that key has not signed the cache.
    """
    from wherry.api.cache_inspect import inspect_cache  # noqa: PLC0415 - for this verb only

    with around(Common(ca=ca)) as surroundings:
        found = inspect_cache(place, surroundings, cache_key)
    if as_json:
        click.echo(json.dumps(_as_json(found)))
    else:
        for line in _lines(found, time.time()):
            click.echo(line)
    if found.distrust:
        raise BuildError(f"the Go cache {found.place} is not to be trusted", why=found.distrust,
                         hint="let a build with the private key write it: --cache-key FILE "
                              "--cache-to PLACE")  # fmt: skip


def _lines(found: CacheContents, now: float) -> Iterator[str]:
    yield f"{found.place}@{found.digest}"
    yield from ("", *_table([_PACKS, *_packs(found, now)]))
    if found.users:
        yield from ("", *_table([_USERS, *(_user(user, now) for user in found.users)]))
    if found.records:
        rows = [
            (
                printable(record.key)[:_SHORT_KEY],
                format_size(record.size),
                f"{record.layers}, {format_size(record.layers_size)}" if record.layers else "none",
                format_age(now - record.time),
            )
            for record in found.records
        ]
        yield from ("", *_table([_RECORDS, *rows]))
    if found.steps.results:
        yield from ("", _steps(found.steps))
    if found.mounts.number:
        yield from ("", f"cache mounts: {found.mounts.number}, {format_size(found.mounts.size)}")
    yield from (f"not to be read: {printable(fault)}" for fault in found.faults)
    yield ""
    share = f" ({_percent(found.dead / found.size)})" if found.size else ""
    yield (
        f"in all {format_size(found.size)}, {format_size(found.content)} unpacked; "
        f"dead weight {format_size(found.dead)}{share}"
    )
    yield _signature(found)


def _packs(found: CacheContents, now: float) -> Iterator[tuple[str, ...]]:
    for pack in found.packs:
        yield (
            _short(pack.digest),
            pack.kind,
            format_size(pack.size),
            format_size(pack.content),
            str(pack.entries),
            format_age(now - pack.made),
            "damaged" if pack.used is None else _percent(pack.used),
        )


def _user(user: CacheUser, now: float) -> tuple[str, ...]:
    name = printable(user.name)
    return (
        name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…",
        format_age(now - user.time),
        format_size(user.used),
        _percent(user.share),
        ", ".join("?" if share is None else _percent(share) for share in user.shares),
    )


def _steps(steps: CacheSteps) -> str:
    text = (
        f"steps of Dockerfiles: {steps.results} results of {steps.images} images, "
        f"{steps.layers} layers, {format_size(steps.layers_size)}"
    )
    return f"{text}; {steps.hollow} RUN without a layer" if steps.hollow else text


def _signature(found: CacheContents) -> str:
    if not found.signed_by:
        return "not signed"
    by = f"signed by the key {printable(found.signed_by)[:64]}"
    if not found.checked:
        return f"{by}, not checked: name its file with --cache-key"
    return f"{by}, checked" if not found.distrust else f"{by}, and that is wrong"


def _percent(share: float) -> str:
    """Whole percents; what is not all is never told as all, nor a little as nothing."""
    percent = round(share * 100)
    if percent == 100 and share < 1:
        percent = 99
    return "<1 %" if percent == 0 and share > 0 else f"{percent} %"


def _short(digest: str) -> str:
    return digest[: len("sha256:") + _SHORT_KEY]


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    head = rows[0]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        cells = (
            text.rjust(width) if name in _RIGHT else text.ljust(width)
            for name, text, width in zip(head, row, widths, strict=True)
        )
        yield "   ".join(cells).rstrip()


def _as_json(found: CacheContents) -> dict[str, object]:
    """Fields by their names; times as text, and which pack a share belongs to."""
    packs = [pack._asdict() | {"made": _time(pack.made)} for pack in found.packs]
    digests = [pack.digest for pack in found.packs]
    users = [
        user._asdict()
        | {"time": _time(user.time), "shares": dict(zip(digests, user.shares, strict=True))}
        for user in found.users
    ]
    records = [record._asdict() | {"time": _time(record.time)} for record in found.records]
    steps, mounts = found.steps._asdict(), found.mounts._asdict()
    return found._asdict() | {
        "packs": packs, "users": users, "records": records, "steps": steps, "mounts": mounts
    }  # fmt: skip


def _time(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        # A stranger's number, beyond all calendars.
        return ""
