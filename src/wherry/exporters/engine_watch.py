# SPDX-License-Identifier: Apache-2.0
"""Waiting for an engine as long as it lives, and no longer."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Self

from wherry.exporters.engine_connection import cut


class Patience(NamedTuple):
    """Seconds: for an answer to a short question; without a sign before an engine is asked whether
    it lives; without a sign at all before it is given up."""

    answer: float = 30.0
    quiet: float = 20.0
    limit: float = 900.0


PATIENCE: Final = Patience()


class Silent(OSError):
    """A watched engine gave no sign any more."""


class Watch:
    """Cuts a connection on which nothing moves while the engine does not live."""

    def __init__(
        self,
        lives: Callable[[], bool],
        connection: http.client.HTTPConnection,
        patience: Patience,
    ) -> None:
        self._lives = lives
        self._connection = connection
        self._patience = patience
        self._ended = threading.Event()
        self._last = self._asked = time.monotonic()
        self._why = ""
        self._thread = threading.Thread(target=self._watch, name="engine-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._ended.set()
        # It may be asking; nobody has to wait for the answer.
        self._thread.join(0.2)
        if self._why and isinstance(error, OSError | http.client.HTTPException | None):
            raise Silent(self._why)

    def moved(self) -> None:
        """The engine took or gave something."""
        self._last = time.monotonic()

    def _watch(self) -> None:
        step = min(1.0, self._patience.quiet / 2)
        while not self._ended.wait(step):
            now = time.monotonic()
            still = now - self._last
            if still > self._patience.limit:
                self._give_up(f"nothing has moved for {still:.0f} s")
            elif still > self._patience.quiet and now - self._asked > self._patience.quiet:
                self._asked = now
                if not self._lives() and not self._ended.is_set():
                    self._give_up(f"nothing has moved for {still:.0f} s, "
                                  "and it does not answer to a ping")  # fmt: skip

    def _give_up(self, why: str) -> None:
        self._why = why
        self._ended.set()
        cut(self._connection)
