# SPDX-License-Identifier: Apache-2.0
"""The last words of a build: name, digest, size, of which the binary, time, and where it went."""

from __future__ import annotations

from typing import NamedTuple

from wherry.cli.progress.units import format_seconds, format_size

_BOLD, _DIM, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"


class Summary(NamedTuple):
    """What a build gave.

    `size` and `binary_size` are bytes counted in the same way, so that their difference is what
    the image holds beside the binary. `fresh` is False where nothing had changed and the build
    record answered. `outputs` are the places written to, in words for people (`movies.tar`).
    """

    name: str
    digest: str
    size: int
    binary_name: str
    binary_size: int
    seconds: float
    fresh: bool
    outputs: tuple[str, ...] = ()


def render_summary(summary: Summary, color: bool) -> str:
    """Two lines, or three where the image was also written somewhere; no last newline."""
    verb = "built in" if summary.fresh else "unchanged,"
    lines = [
        f"{_paint(summary.name, _BOLD, color)}  {format_size(summary.size)}, of which "
        f"{format_size(summary.binary_size)} {summary.binary_name}; "
        f"{verb} {format_seconds(summary.seconds)}",
        _paint(summary.digest, _DIM, color),
    ]
    if summary.outputs:
        lines.append(f"written to {', '.join(summary.outputs)}")
    return "\n".join(lines)


def _paint(text: str, style: str, color: bool) -> str:
    return f"{style}{text}{_RESET}" if color else text
