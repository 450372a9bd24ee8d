# SPDX-License-Identifier: Apache-2.0
"""When a request is sent again, and after how long.

Waits double from half a second to twenty, with jitter so that many clients do not come back at
once. A server's `Retry-After` (RFC 9110, 10.2.3) is kept to where it is bearable. All tries of one
request together have five minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

RETRIED: Final = frozenset({408, 429, 500, 502, 503, 504})
"""Answers after which the same request may succeed."""

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 20.0
_LONGEST_RETRY_AFTER = 120.0
_TOTAL = 300.0
_STALE = 4


class Patience:
    """How much more one request may be repeated. Times in seconds; used by one thread.

    `retries` is the number of repetitions, `random` gives numbers from 0 to 1.
    """

    def __init__(
        self, retries: int, clock: Callable[[], float], random: Callable[[], float]
    ) -> None:
        self._retries = retries
        self._clock = clock
        self._random = random
        self._end = clock() + _TOTAL
        self._used = 0
        self._failures = 0
        self._stale = 0

    def after_failure(self, repeats: int) -> float | None:
        """How long to wait after no answer came; None to give up, at the latest by `repeats`."""
        if self._failures >= repeats:
            return None
        self._failures += 1
        return self._take(self._back_off())

    def after_stale(self) -> float | None:
        """As after a failure, but at once the first few times: other connections may be fresh."""
        if self._retries and self._stale < _STALE:
            self._stale += 1
            return 0.0
        return self.after_failure(self._retries)

    def after_answer(self, status: int, retry_after: str) -> float | None:
        """How long to wait after this answer; None where it is to be returned as it is."""
        if status not in RETRIED:
            return None
        asked = parse_retry_after(retry_after) or 0.0
        if asked > _LONGEST_RETRY_AFTER:
            return None
        return self._take(asked or self._back_off())

    def _back_off(self) -> float:
        longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0**self._used)
        return longest * (0.5 + self._random() / 2)

    def _take(self, wait: float) -> float | None:
        if self._used >= self._retries or self._clock() + wait > self._end:
            return None
        self._used += 1
        return wait


def parse_retry_after(value: str, now: Callable[[], float] = time.time) -> float | None:
    """Seconds from now, never negative; None where the header is absent or not understood."""
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return float(value[:12])
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - now())
