# SPDX-License-Identifier: Apache-2.0
"""The live view: finished steps scroll up as lines, running steps move below them.

Senders only change a small state under a lock; one thread, the painter, owns the terminal. It
loads rich once a step has been running for a moment: a build that is over sooner never pays for
it and never flickers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from wherry.cli.progress.board import QUICK_SECONDS, Board
from wherry.cli.progress.lines import LineStyle
from wherry.cli.progress.output import LineStream
from wherry.events import Event

if TYPE_CHECKING:
    from wherry.cli.progress.painter import Painter

TICK_SECONDS = 0.1


class LiveView:
    """The renderer of `--progress=tty`."""

    def __init__(
        self,
        stream: TextIO,
        color: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._style = LineStyle(color)
        self._clock = clock
        self._out = LineStream(stream)
        self._lock = threading.Lock()
        self._board = Board(self._style)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._painter: Painter | None = None

    def __call__(self, event: Event) -> None:
        """Take one event; the painter shows it within a tenth of a second."""
        with self._lock:
            self._board.take(event, self._clock())
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._paint, name="progress", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:
                    # No thread to be had: the lines are written at the end.
                    self._stop.set()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the moving rows away and write the lines that are still held."""
        self.leave()

    def leave(self) -> None:
        """As at the end; nothing moves any more, and lines that come are written at the end."""
        self._stop.set()
        if self._thread is not None and self._thread.ident is not None:
            self._thread.join()
        with self._lock:
            lines = self._board.flush()
        self._out.write(*lines)

    def come_back(self) -> None:
        """Begin anew: the next event starts the painter, below what was written meanwhile."""
        with self._lock:
            self._stop.clear()
            self._thread = self._painter = None

    def _paint(self) -> None:
        try:
            while not self._stop.wait(TICK_SECONDS):
                self._tick()
        except Exception:  # noqa: BLE001 - thread boundary: a broken view must not break a build
            # What comes now is written as lines when the build ends.
            self._stop.set()
        finally:
            if self._painter is not None:
                self._painter.close()

    def _tick(self) -> None:
        now = self._clock()
        with self._lock:
            lines = self._board.drain()
            view = self._board.view(now)
        if self._painter is None:
            began = [step.since for step in view.steps]
            began += [lane.since for lane in view.lanes]
            if any(now - since >= QUICK_SECONDS for since in began):
                self._painter = self._make_painter()
            else:
                self._out.write(*lines)
                return
        self._painter.show(lines, view, now)

    def _make_painter(self) -> Painter:
        # The one import of rich: see the module's docstring.
        from wherry.cli.progress.painter import Painter  # noqa: PLC0415 - see above

        return Painter(self._stream, self._style, self._out)
