# SPDX-License-Identifier: Apache-2.0
"""One HTTP/1.1 answer read off a socket, strictly and within bounds (RFC 9112).

http.client parses status line and headers; what it lets pass is refused here: lines without a
colon, endless informational answers, contradictory lengths, transfer codings other than chunked.
Bodies are read straight into the caller's buffer, at most one receive a call. A peer that keeps a
connection alive by a byte now and then is given up.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

_HEAD_LIMIT: Final = 1 << 20
_LINE_LIMIT: Final = 8192
_TRAILERS: Final = 100
_BUFFER: Final = 1 << 16
_LEAST: Final = 1024
_WINDOW: Final = 60.0
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;.*)?")


class Malformed(http.client.HTTPException):
    """The peer does not speak HTTP as specified; the text has no bytes of the peer's."""


class Cut(http.client.HTTPException):
    """The body ended early."""


class Pace(NamedTuple):
    """How slow a peer may be: at least a kibibyte in each `window` seconds of waiting for it."""

    window: float = _WINDOW
    clock: Callable[[], float] = time.monotonic


class Incoming(io.RawIOBase):
    """A socket's bytes, watched for pace and, while the head is read, for amount."""

    def __init__(self, raw: io.RawIOBase, pace: Pace) -> None:
        self._raw = raw
        self._pace = pace
        self._started = False
        self._waited = 0.0
        self._window = 0
        self._count = 0
        self.in_head = True

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - any buffer, as typeshed has it
        """One receive; `TimeoutError` where the peer is too slow."""
        before = self._pace.clock()
        count = self._raw.readinto(buffer)
        if not count:
            return count
        self._watch(count, self._pace.clock() - before)
        return count

    def _watch(self, count: int, waited: float) -> None:
        self._count += count
        if self.in_head and self._count > _HEAD_LIMIT:
            raise Malformed("the answer's headers do not end")
        # Preparing an answer may take its time; sending it may not.
        self._waited += waited if self._started else 0.0
        self._started = True
        self._window += count
        if self._waited >= self._pace.window:
            if self._window < _LEAST:
                raise TimeoutError("too slow")
            self._waited, self._window = 0.0, 0

    def close(self) -> None:
        """Close the file, not the socket."""
        self._raw.close()
        super().close()


class _Watched:
    """A socket whose files are watched."""

    def __init__(self, sock: socket.socket, pace: Pace) -> None:
        self._sock = sock
        self.incoming = Incoming(sock.makefile("rb", 0), pace)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self.incoming, _BUFFER)


class Answer(http.client.HTTPResponse):
    """One answer, of which `receive` gives the body."""

    def __init__(self, sock: socket.socket, pace: Pace, method: str | None) -> None:
        watched = _Watched(sock, pace)
        super().__init__(watched, method=method)  # type: ignore[arg-type] # makefile is all it uses
        self._incoming = watched.incoming
        self._chunk = 0
        self._chunks_begun = False
        self.expected: int | None = None

    def begin(self) -> None:
        """Read the head; `http.client.HTTPException` where it is malformed, `OSError`."""
        while True:
            super().begin()
            self._check_head()
            # Informational answers (RFC 9110, 15.2) announce the one that is waited for.
            if not 101 < self.status < 200:
                break
            self.headers = self.msg = None  # type: ignore[assignment] # as before the first answer
        self._incoming.in_head = False
        self.expected = self.length

    def _check_head(self) -> None:
        if self.msg.defects or self.msg.get_payload():
            raise Malformed("a header line has no colon")
        lengths = [text.strip() for text in self.msg.get_all("content-length", [])]
        if len(set(lengths)) > 1 or not all(
            text.isascii() and text.isdecimal() and len(text) < 19 for text in lengths
        ):
            raise Malformed("the answer's Content-Length is malformed")
        coding = self.msg.get_all("transfer-encoding", [])
        if coding and (len(coding) > 1 or not self.chunked):
            raise Malformed("the answer's transfer coding is not known")

    def receive(self, buffer: memoryview) -> int:
        """The body's next bytes; 0 at its end. `Cut`, `Malformed`, `OSError`."""
        if self.fp is None or not buffer:
            return 0
        left = self._left()
        if left == 0:
            self.close()
            return 0
        if left is not None:
            buffer = buffer[:left]
        count: int = self.fp.readinto1(buffer)
        if not count and left is not None:
            raise Cut
        if not count:
            self.close()
        self._consume(count)
        return count

    def _left(self) -> int | None:
        """How much may be read now: of the body, or of the chunk. None for up to the end."""
        if self.length is not None or not self.chunked:
            return self.length
        if not self._chunk:
            self._chunk = self._next_chunk()
        return self._chunk

    def _consume(self, count: int) -> None:
        if self.chunked:
            self._chunk -= count
        elif self.length is not None:
            self.length -= count

    @property
    def at_end(self) -> bool:
        """Whether the whole body has been read, as far as that is known without receiving."""
        return self.fp is None or self.length == 0

    def _next_chunk(self) -> int:
        if self._chunks_begun and self._line():
            raise Malformed("a chunk is longer than it says")
        self._chunks_begun = True
        size = _CHUNK_SIZE.fullmatch(self._line())
        if size is None:
            raise Malformed("a chunk's size is malformed")
        if int(size[1], 16):
            return int(size[1], 16)
        for _ in range(_TRAILERS):
            if not self._line():
                return 0
        raise Malformed("the answer's trailers do not end")

    def _line(self) -> bytes:
        line = self.fp.readline(_LINE_LIMIT)
        if not line.endswith(b"\n"):
            raise Cut if len(line) < _LINE_LIMIT else Malformed("a line of the body is too long")
        return line.rstrip(b"\r\n")
