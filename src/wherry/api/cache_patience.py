# SPDX-License-Identifier: Apache-2.0
"""How long a cache place may keep a build waiting.

A cache is there to save time: a registry that stalls, or trickles, is given up for the rest of the
build. Asking what a place holds has seconds; fetching has about what compiling would take; writing
comes after the result and has minutes at most. Whatever waits on the place then (an answer, a body,
a lock, a pause before another try) is woken by the place's own token.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from wherry.errors import NetworkError
from wherry.gocache.pack_set import Pack
from wherry.process.cancel import Cancelled, CancelToken

ASKING: Final = 20.0
"""Seconds for an index, tables, a record: what is small."""

_LEAST = 30.0
_MOST = 300.0
_EXPORT = 120.0
_EXPORT_BYTES_PER_SECOND = 1_000_000
# What compiling takes where nobody measured it, for the bytes of content that it gives.
_CONTENT_PER_SECOND = 5_000_000
# Files of modules are had from a module proxy otherwise, in whole zips.
_MODULES_PER_SECOND = 1_000_000


class TooSlow(NetworkError):
    """A place kept the build waiting for longer than it is worth."""


class CachePatience:
    """One place's: `token` is cancelled with `parent`, and for good once time is up."""

    def __init__(self, parent: CancelToken) -> None:
        self.token = CancelToken()
        self._parent = parent
        self._left = False

    def leave(self) -> None:
        """End what is under way for good, as nobody wants it any more: no fault of the place."""
        self._left = True
        self.token.cancel()

    @contextmanager
    def within(self, seconds: float | None) -> Iterator[None]:
        """Let the block have so many seconds; raises `TooSlow`, now and from now on.

        None is as long as it takes; what asks the place ends at once where it was given up before.
        Raises `Cancelled` where the build was, or the place was left.
        """
        timer = threading.Timer(seconds or _MOST, self.token.cancel)
        timer.daemon = True
        if seconds is not None:
            timer.start()
        try:
            with self._parent.on_cancel(self.token.cancel):
                yield
        except Cancelled:
            if self._left or self._parent.cancelled:
                raise
            raise TooSlow("it is too slow, and given up for this build") from None
        finally:
            timer.cancel()

    def check(self) -> None:
        """Raise `TooSlow` where the place was given up; `Cancelled`."""
        with self.within(None):
            self.token.check()


def fetching(packs: Iterable[Pack]) -> float:
    """The seconds that fetching these packs is worth."""
    wanted = tuple(packs)
    built = sum(pack.content for pack in wanted if pack.kind == "build")
    other = sum(pack.content for pack in wanted if pack.kind != "build")
    worth = built / _CONTENT_PER_SECOND + other / _MODULES_PER_SECOND
    return min(max(_LEAST, worth), _MOST)


def filling(content: int) -> float:
    """The seconds that fetching a cache mount with so many bytes of content is worth."""
    return min(max(_LEAST, content / _MODULES_PER_SECOND), _MOST)


def sending(content: int) -> float:
    """The seconds that sending so many bytes of content may take, once the result is delivered."""
    return min(_EXPORT + content / _EXPORT_BYTES_PER_SECOND, 2 * _MOST)
