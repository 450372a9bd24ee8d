# SPDX-License-Identifier: Apache-2.0
"""The last words of a build: name, digest, size, what takes it, time, and where it went.

Where layers of the base were never fetched, nobody has counted the files in them; the size is then
the compressed one, and says so. Several images have a line each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wherry.api.request import PushResult
from wherry.cli.progress.units import format_seconds, format_size

_BOLD, _DIM, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_GREEN, _RED = "\x1b[32m", "\x1b[31m"


class Part(NamedTuple):
    """What takes room in an image, in bytes; `kind` is `base`, `files` or `binary`."""

    name: str
    size: int
    kind: str = "binary"


class Summary(NamedTuple):
    """What a build gave.

    `size` and `binary_size` are bytes counted in the same way, so that their difference is what
    the image holds beside the binary, whose name is empty where none is known; with `compressed`
    set, `size` is what a registry would hold. `digest` is empty where another line tells it anyway.
    `fresh` is False where nothing had changed and what was built before answered. `outputs` are the
    places written to, in words for people (`movies.tar`), `loaded` the names that an engine knows.
    `parts` are what makes up `size`, in the order of the image's layers; without them the binary
    and the rest are told.
    """

    name: str
    digest: str
    size: int
    binary_name: str
    binary_size: int
    seconds: float
    fresh: bool
    outputs: tuple[str, ...] = ()
    compressed: bool = False
    pushed: tuple[PushResult, ...] = ()
    loaded: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()


def render_summary(summary: Summary, color: bool, width: int = 0) -> str:
    """Two lines, and one for each place that the image went to; no last newline.

    With a `width`, in columns, a new image's parts are shown as bars; one that had not changed is
    told in two lines everywhere.
    """
    parts = summary.parts or _two_parts(summary)
    draws = bool(width and summary.fresh and len(parts) > 1)
    verb = "built in" if summary.fresh else "unchanged,"
    size = format_size(summary.size) if draws else _weight(summary)
    if draws and summary.compressed:
        size += " compressed"
    lines = [
        f"{_paint(summary.name, _BOLD, color)}  {size}; {verb} {format_seconds(summary.seconds)}"
    ]
    if draws:
        from wherry.cli.progress.bars import render_parts  # noqa: PLC0415 - rich's widths

        lines += render_parts(parts, width, color)
    if summary.digest:
        lines.append(_paint(summary.digest, _DIM, color))
    return "\n".join([*lines, *_places(summary)])


def render_summaries(
    summaries: Sequence[Summary], failed: Sequence[str], seconds: float, color: bool, width: int = 0
) -> str:
    """A line for each image of several, those that `failed` by name, and how many of how many.

    With a `width` a bar shows each size beside the largest, and what takes it, unless no image had
    changed.
    """
    is_fresh = bool(failed) or any(item.fresh for item in summaries)
    if width and is_fresh:
        from wherry.cli.progress.bars import render_images  # noqa: PLC0415 - rich's widths

        lines = render_images(
            [(item.name, item.size, item.parts or _two_parts(item)) for item in summaries],
            failed, width, color,
        )  # fmt: skip
    else:
        lines = _listed(summaries, failed, color)
    for item in summaries:
        lines += _places(item)
    total = len(summaries) + len(failed)
    count = f"{len(summaries)} of {total} images" if failed else f"{total} images"
    verb = "built in" if is_fresh else "unchanged,"
    return "\n".join([*lines, f"{count} {verb} {format_seconds(seconds)}"])


def _listed(summaries: Sequence[Summary], failed: Sequence[str], color: bool) -> list[str]:
    """The lines without bars, which need no tables of widths."""
    from wherry.cli.progress.output import printable  # noqa: PLC0415 - several images only

    rows = [(item.name, format_size(item.size), "✓", _GREEN) for item in summaries]
    rows += [(name, "failed", "✗", _RED) for name in failed]
    column = max((len(printable(row[0])) for row in rows), default=0)
    return [
        f"{_paint(mark, style, color)} {printable(name).ljust(column)}  {told.rjust(8)}"
        for name, told, mark, style in rows
    ]


def _places(summary: Summary) -> list[str]:
    lines = [f"written to {', '.join(summary.outputs)}"] if summary.outputs else []
    if summary.loaded:
        lines.append(f"loaded as {', '.join(summary.loaded)}")
    return lines + render_pushes(summary.pushed)


def _two_parts(summary: Summary) -> tuple[Part, ...]:
    if not summary.binary_name or summary.compressed:
        return ()
    rest = max(summary.size - summary.binary_size, 0)
    return Part("the rest", rest, "base"), Part(summary.binary_name, summary.binary_size)


def render_pushes(pushes: tuple[PushResult, ...]) -> list[str]:
    """`pushed to REF (3.1 MB sent, 2 blobs there already)`, a line for each repository."""
    # Names by repository and what its push took.
    names: dict[tuple[str, str], list[str]] = {}
    for item in pushes:
        name = item.reference.partition("@")[0]
        names.setdefault((name.rpartition(":")[0], _took(item)), []).append(name)
    return [f"pushed to {', '.join(tags)} ({took})" for (_, took), tags in names.items()]


def _took(pushed: PushResult) -> str:
    if pushed.unchanged:
        return "unchanged"
    parts = [f"{format_size(pushed.uploaded)} sent"]
    if pushed.mounted:
        parts.append(f"{_blobs(pushed.mounted)} mounted")
    if pushed.existed:
        parts.append(f"{_blobs(pushed.existed)} there already")
    return ", ".join(parts)


def _weight(summary: Summary) -> str:
    size, binary = format_size(summary.size), format_size(summary.binary_size)
    if not summary.binary_name:
        return f"{size} compressed" if summary.compressed else size
    if summary.compressed:
        # The binary's size is not compressed: no part of the other.
        return f"{size} compressed, {summary.binary_name} {binary} unpacked"
    if summary.parts:
        told = (f"{format_size(part.size)} {part.name}" for part in summary.parts)
        return f"{size}: {', '.join(told)}"
    return f"{size}, of which {binary} {summary.binary_name}"


def _blobs(count: int) -> str:
    return f"{count} blob{'s' if count > 1 else ''}"


def _paint(text: str, style: str, color: bool) -> str:
    return f"{style}{text}{_RESET}" if color else text
