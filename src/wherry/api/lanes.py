# SPDX-License-Identifier: Apache-2.0
"""The ends of lanes: what became of each image of several, told once for each.

They are told when all is known: sources that changed meanwhile make all images anew.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from wherry.api.recorded import Output
from wherry.api.request import ImageFailure, ImagesFailed
from wherry.events import LaneEnded, Outcome, Sink


class Lanes:
    """Tells `sink` how the images of a build ended; a build of one image has no lanes."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._began = time.monotonic()

    def end(self, outputs: Sequence[Output], failures: Sequence[ImageFailure]) -> None:
        """All that there are to be are these."""
        if len(outputs) + len(failures) < 2:
            return
        seconds = time.monotonic() - self._began
        for output in outputs:
            # As the summary tells it.
            size = output.size if output.unpacked is None else output.unpacked
            self._sink(LaneEnded(output.name, Outcome.DONE, seconds, size, digest=output.manifest))
        for failure in failures:
            what = failure.error.headline
            self._sink(LaneEnded(failure.name, Outcome.FAILED, seconds, detail=what))

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Tell of images where none could be built; raises what all of them failed for."""
        try:
            yield
        except ImagesFailed as error:
            self.end((), error.failures)
            if len(error.errors) == 1:
                raise error.errors[0] from None
            raise
