# SPDX-License-Identifier: Apache-2.0
"""Draws the live view with rich; only the painter thread uses it.

Loading this module loads rich.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from wherry.cli.progress.lines import LineStyle, Running
from wherry.cli.progress.rows import Frame, render_rows
from wherry.cli.progress.terminal import terminal_size


class Painter:
    """Lines that stay, rows that move; `close` takes the rows away and shows the cursor."""

    def __init__(self, stream: TextIO, style: LineStyle) -> None:
        self._stream = stream
        self._tick = 0
        self._console = Console(
            file=stream,
            force_terminal=True,
            color_system="standard" if style.color else None,
            legacy_windows=False,
            highlight=False,
            markup=False,
            emoji=False,
            # rich reads no environment of its own: size and colours are decided here.
            _environ={},
        )
        self._live = Live(
            Group(),
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._fit()
        self._live.start()

    def show(
        self,
        lines: list[str],
        running: tuple[Running, ...],
        now: float,
    ) -> None:
        """Write `lines` above the rows and draw the rows anew, in one write."""
        width, height = self._fit()
        rows = render_rows(running, Frame(width, height, now, self._tick))
        self._tick += 1
        self._live.update(Group(*rows), refresh=not lines)
        if lines:
            self._console.print(Text.from_ansi("\n".join(lines)), soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal as it was; a terminal that is gone is left alone."""
        with suppress(OSError, ValueError):
            self._live.stop()

    def _fit(self) -> tuple[int, int]:
        width, height = terminal_size(self._stream)
        self._console.width, self._console.height = width, height
        return width, height
