# SPDX-License-Identifier: Apache-2.0
"""Progress for people and programs: plain lines, a live view, JSON lines, or nothing."""

from wherry.cli.progress.select import Mode, Renderer, make_sink
from wherry.cli.progress.summary import Summary, render_summary

__all__ = ["Mode", "Renderer", "Summary", "make_sink", "render_summary"]
