# SPDX-License-Identifier: Apache-2.0
"""Several exporters and one name, without a lock: read, merge, write, look again.

Registries have no compare-and-swap (distribution specification 1.1, "Pushing Manifests"): the last
PUT of a tag wins. An exporter therefore asks right before its PUT whether the tag is still what it
has merged with, and after it waits and asks again. Say A's PUT is done. Whoever read the tag before
that either asks after it, sees that it has moved and merges again; or asked before it, and then its
own PUT ends at most one question-and-PUT later. A waits for three times as long as its own question
and PUT took (at least `Pace.least`, longer where it met others), so that it sees that PUT, merges
again with what it finds, and writes. What remains is an exporter that is held up between question
and PUT for longer than that: it may remove the others' packs from the tag unseen. That costs speed
and nothing else: what is named is always whole, and the next export puts in what is missing.
"""

from __future__ import annotations

import secrets
import time
from typing import NamedTuple, Protocol

from wherry.errors import NetworkError
from wherry.gocache.manifest import Made, make_pack_set
from wherry.gocache.places import Found, Merge, Published
from wherry.oci.digest import Digest
from wherry.process.cancel import CancelToken
from wherry.transport.slots import pause

_MOST_PATIENT = 5
_LONGEST_RETRY = 3.0


class Seen(NamedTuple):
    """What a name points to: nothing, a pack set, or one too damaged to be `found`."""

    digest: Digest | None = None
    found: Found | None = None


class MovingName(Protocol):
    """A name of a pack set that others may move at any time."""

    @property
    def name(self) -> str:
        """For people."""

    def look(self) -> Seen:
        """What it points to, read whole."""

    def digest(self) -> Digest | None:
        """What it points to, cheaply."""

    def prepare(self, made: Made) -> None:
        """Have all blobs there, the small ones too."""

    def move(self, made: Made) -> None:
        """Let the name point to this manifest, whatever it points to now."""


class Pace(NamedTuple):
    """Waits in seconds: the least before the second look, how many times as long as question and
    write took; the most tries, and the longest random wait before the second of them."""

    least: float = 0.2
    factor: float = 3.0
    tries: int = 12
    retry: float = 0.1


def publish_without_lock(
    name: MovingName, merge: Merge, cancel: CancelToken, pace: Pace
) -> Published:
    """Let `name` point to what `merge` makes of what it points to, together with others.

    Raises `NetworkError` where others are faster every time.
    """
    for number in range(1, pace.tries + 1):
        if number > 1:
            longest = min(pace.retry * 2.0 ** (number - 2), _LONGEST_RETRY)
            pause(secrets.SystemRandom().uniform(0, longest), cancel)
        seen = name.look()
        document = merge(seen.found)
        if document is None:
            return Published(number, seen.found)
        made = make_pack_set(document)
        ours = made.pack_set.raw.descriptor.digest
        name.prepare(made)
        waits = pace._replace(least=pace.least * min(number, _MOST_PATIENT))
        if seen.digest == ours or _moved(name, made, seen.digest, waits, cancel):
            return Published(number, made.pack_set.found(document.index))
    raise NetworkError(f"the cache {name.name} was not written",
                       why=f"others wrote it, too, each of {pace.tries} times",
                       hint="the next export puts in what is missing")  # fmt: skip


def _moved(
    name: MovingName, made: Made, before: Digest | None, pace: Pace, cancel: CancelToken
) -> bool:
    """Whether the name points to it, and still does when the others have written."""
    began = time.monotonic()
    if name.digest() != before:
        return False
    name.move(made)
    pause(max(pace.least, pace.factor * (time.monotonic() - began)), cancel)
    return name.digest() == made.pack_set.raw.descriptor.digest
