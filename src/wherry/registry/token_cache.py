# SPDX-License-Identifier: Apache-2.0
"""Tokens kept for as long as they are good, and one request for all who want the same at once.

A token that was granted for more serves those who want less of the same repository. A registry
that no longer takes a token takes no older one, either: servers lose them all at once, with their
keys. Failures are told to everyone who waited, and not kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from wherry.registry.model import Scope
from wherry.registry.tokens import BearerService, Token

# A token is renewed this long before its end, or a quarter of a short life before: the request
# that carries it takes time, and clocks differ.
_MARGIN = 10.0


class Wanted(NamedTuple):
    """What a token is for: where, for whom, and which rights."""

    service: BearerService
    user: str
    scope: Scope

    @property
    def place(self) -> tuple[object, ...]:
        """All that a token must share with a wish to be able to serve it."""
        scope = self.scope
        return (self.service, self.user, scope.origin, scope.registry, scope.repository)


class _Held(NamedTuple):
    text: str
    until: float
    actions: frozenset[str]
    mounted_from: str

    def serves(self, scope: Scope) -> bool:
        return scope.mounted_from in ("", scope.repository, self.mounted_from) and (
            self.actions.issuperset(scope.actions)
        )


class TokenCache:
    """Tokens by what they are for; thread-safe. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # Of each place the newest first.
        self._held: dict[tuple[object, ...], list[_Held]] = {}
        self._running: dict[Wanted, Future[str]] = {}

    def get(self, wanted: Wanted, rejected: str, fetch: Callable[[], Token]) -> str:
        """A token for `wanted`: a held one that is newer than `rejected`, or what `fetch` gets now.

        Raises what `fetch` raises, also if another thread's call of it failed.
        """
        # Actions in another order are the same wish.
        scope = wanted.scope._replace(actions=tuple(sorted(set(wanted.scope.actions))))
        wanted = wanted._replace(scope=scope)
        with self._lock:
            self._forget(wanted, rejected)
            held = self._find(wanted)
            if held:
                return held
            running = self._running.get(wanted)
            waits = running is not None
            if running is None:
                running = self._running[wanted] = Future()
        return running.result() if waits else self._fetched(wanted, fetch, running)

    def _forget(self, wanted: Wanted, rejected: str) -> None:
        held = self._held.get(wanted.place, [])
        texts = [old.text for old in held]
        if rejected in texts:
            del held[texts.index(rejected) :]

    def _find(self, wanted: Wanted) -> str:
        now = self._clock()
        for held in self._held.get(wanted.place, ()):
            if held.until > now and held.serves(wanted.scope):
                return held.text
        return ""

    def _fetched(self, wanted: Wanted, fetch: Callable[[], Token], running: Future[str]) -> str:
        asked = self._clock()
        try:
            token = fetch()
        except BaseException as error:
            with self._lock:
                del self._running[wanted]
            running.set_exception(error)
            raise
        until = asked + token.life - min(_MARGIN, token.life / 4)
        scope = wanted.scope
        held = _Held(token.text, until, frozenset(scope.actions), scope.mounted_from)
        with self._lock:
            now = self._clock()
            others = self._held.get(wanted.place, ())
            kept = [old for old in others if old.until > now and not _replaces(held, old)]
            self._held[wanted.place] = [held, *kept]
            del self._running[wanted]
        running.set_result(token.text)
        return token.text


def _replaces(new: _Held, old: _Held) -> bool:
    return old.actions <= new.actions and old.mounted_from in ("", new.mounted_from)
