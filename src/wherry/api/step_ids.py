# SPDX-License-Identifier: Apache-2.0
"""Step ids that are unique within a build, whoever sends them.

A scheduler numbers the tasks of one solve, and a build may need several: images that are compressed
in different ways, sources that changed meanwhile. On the no-change path.
"""

from __future__ import annotations

import threading

from wherry.events import Event, LaneEnded, Message, Sink, StepStarted


class UniqueIds:
    """A sink that passes events on; an id that comes again goes by another name then."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._lock = threading.Lock()
        # How often an id began.
        self._begun: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, LaneEnded | Message):
            self._sink(event)
            return
        with self._lock:
            times = self._begun.get(event.id, 0)
            if isinstance(event, StepStarted):
                times += 1
                self._begun[event.id] = times
        self._sink(event if times < 2 else event._replace(id=f"{event.id}.{times}"))
