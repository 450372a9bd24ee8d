# SPDX-License-Identifier: Apache-2.0
"""An upload as the registry keeps it, and the stretch of a blob that one request brings to it."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeVar, cast

from wherry.errors import NetworkError
from wherry.process.cancel import CancelToken
from wherry.registry.endpoint import Endpoint
from wherry.registry.model import BlobSource, Progress
from wherry.registry.transfer import Furthest, Patience
from wherry.transport.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.transport.http import Response

T = TypeVar("T")

_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})")


class Session(NamedTuple):
    """An upload under way.

    `url` is where it goes on, and may hold a signature. The registry has the first `offset` bytes.
    `minimum` is the least length of a chunk that is not the last (OCI-Chunk-Min-Length).
    """

    url: str
    offset: int = 0
    minimum: int = 0


class Interrupted(Exception):
    """A request of an upload came to nothing, and another may not.

    `error` is told if there is no other; `wait` are the seconds that the registry asks for.
    `forgotten`: the upload has to begin anew.
    """

    def __init__(self, error: NetworkError, *, wait: float = 0.0, forgotten: bool = False) -> None:
        super().__init__()
        self.error = error
        self.wait = wait
        self.forgotten = forgotten


class Reading:
    """A blob's source while it is uploaded: one file, read on from request to request.

    It is opened again only where an upload has to go back, so that a source that is a registry
    itself is asked once, and sees to it that its bytes are right. `progress` is told of every byte
    once. To be closed; used by one thread.
    """

    def __init__(
        self, source: BlobSource, progress: Progress, patience: Patience, cancel: CancelToken
    ) -> None:
        self._source = source
        self._furthest = Furthest(progress)
        self._patience = patience
        self._cancel = cancel
        self._file: BinaryIO | None = None
        self._position = 0

    def go_to(self, position: int) -> None:
        """Read on from there."""
        if self._file is None or position != self._position:
            self.close()
            self._file = _of_source(lambda: self._source.open(position))
            self._position = position

    def read(self, size: int) -> bytes:
        """The next bytes, empty at the end; what the source raises, `Cancelled`."""
        self._cancel.check()
        file = self._file
        data = _of_source(lambda: file.read(size)) if file is not None else b""
        self._position += len(data)
        self.reached(self._position)
        return data

    def reached(self, position: int) -> None:
        """The registry has, or is about to get, the bytes up to there."""
        self._patience.came(self._furthest.reached(position))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Stretch:
    """`size` bytes of a blob from `start` on, as a request's body."""

    def __init__(self, reading: Reading, start: int, size: int) -> None:
        self._reading = reading
        self._start = start
        self.size = size

    def open(self, offset: int) -> BinaryIO:
        """The bytes from `offset` of the stretch on; the end is up to the reader."""
        self._reading.go_to(self._start + offset)
        # A file in all that matters; only typeshed's BinaryIO is no protocol.
        return cast("BinaryIO", _Part(self._reading))


class _Part(io.RawIOBase):
    """What one request sees of the source's file, which outlives it."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self._reading.read(size)


def _of_source(work: Callable[[], T]) -> T:
    """A source that is a registry too may fail; that is not the target's connection."""
    try:
        return work()
    except ConnectionFailed as error:
        raise NetworkError(error.what, why=error.why, hint=error.hint) from None


def session_of(endpoint: Endpoint, response: Response, known: Session) -> Session:
    """The upload where `response` says that it goes on; raises `NetworkError`.

    What it leaves unsaid is as in `known`.
    """
    location = response.headers.get("location", "")
    if location or not known.url:
        known = known._replace(url=_followed(endpoint, response.url, location))
    minimum = response.headers.get("oci-chunk-min-length", "")
    if minimum.isascii() and minimum.isdigit():
        known = known._replace(minimum=int(minimum[:18]))
    return known


def _followed(endpoint: Endpoint, base: str, location: str) -> str:
    try:
        return endpoint.follow(base, location)
    except ConnectionFailed as error:
        # Nobody typed this URL: whose it is matters more than what is wrong with it.
        raise NetworkError(f"{endpoint.name} sends an upload to a URL that cannot be used",
                           why=error.why, hint="the fault is the registry's, or that of a proxy "
                           "before it") from None  # fmt: skip


def received(response: Response) -> int | None:
    """How many bytes the registry says that it has; None where it does not say it plainly."""
    found = _RANGE.fullmatch(response.headers.get("range", "").strip())
    return int(found[1]) + 1 if found else None
