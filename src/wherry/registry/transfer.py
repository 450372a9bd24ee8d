# SPDX-License-Identifier: Apache-2.0
"""What moving a blob in either direction needs: patience with breaks, and honest progress.

A transfer may break any number of times as long as it gets on: bad networks and large blobs exist.
Without progress a few tries are all, with growing waits between them. What is sent or received a
second time is not told a second time.
"""

from __future__ import annotations

from wherry.process.cancel import CancelToken
from wherry.registry.model import Progress
from wherry.transport.slots import pause

_TRIES = 5
_ENOUGH = 1 << 20
_FIRST_WAIT = 0.25
_LONGEST_WAIT = 10.0
LONGEST_ASKED = 120.0
"""The seconds that a server may ask to be left alone for."""


class Patience:
    """Counts one transfer's failures since it last got on by a mebibyte; used by one thread."""

    def __init__(self, cancel: CancelToken) -> None:
        self._cancel = cancel
        self._failures = 0
        self._came = 0

    @property
    def has_more(self) -> bool:
        """Whether another try is worth it."""
        return self._failures < _TRIES or self._came >= _ENOUGH

    def came(self, count: int) -> None:
        """So many bytes were transferred for the first time."""
        self._came += count

    def wait(self, asked: float = 0.0) -> None:
        """Count a failure and wait before the next try; without `asked` the first comes at once.

        `asked` are the seconds that the server asks for. Raises `Cancelled`.
        """
        if self._came >= _ENOUGH:
            self._failures = 0
        self._came = 0
        self._failures += 1
        own = _FIRST_WAIT * 2.0 ** (self._failures - 2) if self._failures > 1 else 0.0
        seconds = max(min(own, _LONGEST_WAIT), min(asked, LONGEST_ASKED))
        if seconds:
            pause(seconds, self._cancel)
        self._cancel.check()


class Furthest:
    """How far a transfer has been; tells `progress` of each byte once."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._position = 0

    def reached(self, position: int) -> int:
        """The transfer is at `position`: how many bytes of that are new."""
        count = max(0, position - self._position)
        if count:
            self._position = position
            self._progress(count)
        return count
