# SPDX-License-Identifier: Apache-2.0
"""Progress for people and programs: plain lines, a live view, JSON lines, or nothing."""

from wherry.cli.progress.select import Mode, Renderer, make_sink, picture_width
from wherry.cli.progress.summary import Part, Summary, render_summaries, render_summary

__all__ = [
    "Mode", "Part", "Renderer", "Summary", "make_sink", "picture_width", "render_summaries",
    "render_summary",
]  # fmt: skip
