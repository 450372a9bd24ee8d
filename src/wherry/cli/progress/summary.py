# SPDX-License-Identifier: Apache-2.0
"""The last words of a build: name, digest, size, of which the binary, time, and where it went.

Where layers of the base were never fetched, nobody has counted the files in them; the size is then
the compressed one, and says so.
"""

from __future__ import annotations

from typing import NamedTuple

from wherry.api.request import PushResult
from wherry.cli.progress.units import format_seconds, format_size

_BOLD, _DIM, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"


class Summary(NamedTuple):
    """What a build gave.

    `size` and `binary_size` are bytes counted in the same way, so that their difference is what
    the image holds beside the binary, whose name is empty where none is known; with `compressed`
    set, `size` is what a registry would hold. `fresh` is False where nothing had changed and what
    was built before answered. `outputs` are the places written to, in words for people
    (`movies.tar`).
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


def render_summary(summary: Summary, color: bool) -> str:
    """Two lines, one more where the image was also written, one for each push; no last newline."""
    verb = "built in" if summary.fresh else "unchanged,"
    lines = [
        f"{_paint(summary.name, _BOLD, color)}  {_weight(summary)}; "
        f"{verb} {format_seconds(summary.seconds)}",
        _paint(summary.digest, _DIM, color),
    ]
    if summary.outputs:
        lines.append(f"written to {', '.join(summary.outputs)}")
    lines += render_pushes(summary.pushed)
    return "\n".join(lines)


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
    return f"{size}, of which {binary} {summary.binary_name}"


def _blobs(count: int) -> str:
    return f"{count} blob{'s' if count > 1 else ''}"


def _paint(text: str, style: str, color: bool) -> str:
    return f"{style}{text}{_RESET}" if color else text
