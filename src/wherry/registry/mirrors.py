# SPDX-License-Identifier: Apache-2.0
"""Mirrors: servers that are asked for a registry's content before the registry itself.

For reading only, in the order of the settings. A mirror that lacks something or fails is passed
over; one that cannot be reached is left out from then on. Content that is asked for by digest is
verified wherever it comes from; what a tag points to is what the mirror says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, TypeVar

from wherry.errors import NetworkError, UsageError
from wherry.events import Level, Message, Sink
from wherry.registry.endpoint import Endpoint, is_host
from wherry.registry.schemes import Schemes
from wherry.transport.errors import ConnectionFailed, Failure

T = TypeVar("T")

# A connection that was reset may work the next time; none of the others will.
_PASSING: Final = (Failure.RESET,)


class MirrorLog:
    """Which mirrors are left out, and what was told about them. Thread-safe."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._lock = threading.Lock()
        self._out: set[str] = set()
        self._told: set[tuple[str, str]] = set()

    def is_out(self, mirror: Endpoint) -> bool:
        """Whether it could not be reached before."""
        return mirror.name in self._out

    def lacks(self, mirror: Endpoint, registry: str) -> None:
        """It does not have what was asked for."""
        self._tell(mirror, "lacks", Level.INFO,
                   f"the mirror {mirror.name} of {registry} lacks {mirror.repository} or a part "
                   "of it; the next server is asked")  # fmt: skip

    def failed(self, mirror: Endpoint, registry: str, error: NetworkError) -> None:
        """It failed or sent something wrong."""
        text = f"the mirror {mirror.name} of {registry} is passed over: {error.what}"
        if isinstance(error, ConnectionFailed) and error.failure not in _PASSING:
            with self._lock:
                self._out.add(mirror.name)
            text += "; it is not asked again"
        self._tell(mirror, "failed", Level.WARNING, text)

    def _tell(self, mirror: Endpoint, kind: str, level: Level, text: str) -> None:
        with self._lock:
            if (mirror.name, kind) in self._told:
                return
            self._told.add((mirror.name, kind))
        self._sink(Message(level, text))


class Sources:
    """Where one repository's content can be read: at its mirrors, and at the registry."""

    def __init__(self, mirrors: tuple[Endpoint, ...], itself: Endpoint, log: MirrorLog) -> None:
        self._mirrors = mirrors
        self.itself = itself
        self._log = log

    def first(self, attempt: Callable[[Endpoint], T | None]) -> T | None:
        """What the first server gives for which `attempt` gives something.

        None where the registry has nothing either; the registry's own `NetworkError` is raised.
        """
        for mirror in self.mirrors():
            try:
                found = attempt(mirror)
            except NetworkError as error:
                self.failed(mirror, error)
                continue
            if found is not None:
                return found
            self._log.lacks(mirror, self.itself.name)
        return attempt(self.itself)

    def mirrors(self) -> Iterator[Endpoint]:
        """The mirrors that are worth asking, one after another."""
        return (mirror for mirror in self._mirrors if not self._log.is_out(mirror))

    def without_mirrors(self) -> Sources:
        """The registry alone, asked for no more rights."""
        return Sources((), self.itself, self._log)

    def for_pushing(self) -> Sources:
        """The registry alone, asked for the right to push."""
        return Sources((), replace(self.itself, writes=True), self._log)

    def failed(self, mirror: Endpoint, error: NetworkError) -> None:
        """Keep in mind that a mirror failed, and say so once."""
        self._log.failed(mirror, self.itself.name, error)


def mirror_endpoint(text: str, repository: str, schemes: Schemes) -> Endpoint:
    """The mirror `[http(s)://]host[:port][/prefix]` for a repository; raises `UsageError`."""
    scheme, mark, rest = text.rpartition("://")
    host, _, prefix = rest.strip("/").partition("/")
    if (mark and scheme not in ("http", "https")) or not is_host(host):
        raise UsageError(f"not a mirror: {text!r}",
                         hint="write it as host[:port][/prefix]")  # fmt: skip
    if scheme == "http" and not schemes.allows_plain(host):
        raise UsageError(
            f"the mirror {host} is to be asked by http, which is not encrypted",
            hint=f'write https://, or add "{host}" to `[registry] insecure`',
        )
    name = f"{prefix}/{repository}" if prefix else repository
    return Endpoint(host, name, schemes, scheme, is_mirror=True)
