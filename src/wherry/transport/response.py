# SPDX-License-Identifier: Apache-2.0
"""An answer: status, headers, and a body that is read within bounds or piece by piece."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import NamedTuple, Self

from urllib3.response import BaseHTTPResponse

from wherry.process.cancel import CancelToken
from wherry.transport.errors import BodyCut, BodyTooLarge, ConnectionFailed, Failure
from wherry.transport.explain import Peer, unanswered
from wherry.transport.framing import Cut, Malformed
from wherry.transport.wire import wired

_BLOCK = 1 << 16
# What is read for nothing so that the connection can be kept, and for how long.
_DRAINED = 1 << 16
_DRAIN_SECONDS = 2.0


class Headers(Mapping[str, str]):
    """An answer's headers by names in any case; repeated ones joined by a comma and a space."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, tuple[str, str]] = {}
        for name, value in pairs:
            known = self._values.get(name.lower())
            joined = f"{known[1]}, {value}" if known else value
            self._values[name.lower()] = (known[0] if known else name, joined)

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._values.values())

    def __len__(self) -> int:
        return len(self._values)


class Exchange(NamedTuple):
    """What a response needs of the transport that made it.

    `url` is the one that answered, `peer` who that is, `release` gives back the right to a
    connection.
    """

    url: str
    peer: Peer
    raw: BaseHTTPResponse
    release: Callable[[], None]
    cancel: CancelToken
    read_timeout: float


class Response:
    """An answer of any status. To be closed, by whichever thread; reading to the end closes it.

    Attributes: `status`; `headers`; `url`, after redirects, which may hold a signature; `secrets`,
    texts that the request carried and that no message about its answer may repeat.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._connection, self._answer = wired(exchange.raw)
        self._open = True
        self._count = 0
        self.status = exchange.raw.status
        self.headers = Headers(exchange.raw.headers.iteritems())
        self.url = exchange.url
        self.secrets: tuple[str, ...] = ()
        if self._answer.at_end:
            self._answer.close()
            self._finish(keep=True)

    def __repr__(self) -> str:
        return f"<Response {self.status} of {self._exchange.peer.name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def read(self, limit: int) -> bytes:
        """The whole body; `BodyTooLarge` over `limit` bytes, and what `readinto` raises."""
        expected = self._answer.expected or 0
        if expected > limit:
            self._finish(keep=False)
            raise self._too_large(limit)
        taken = bytearray()
        block = bytearray(min(_BLOCK, limit + 1))
        while count := self.readinto(block):
            taken += memoryview(block)[:count]
            if len(taken) > limit:
                self._finish(keep=False)
                raise self._too_large(limit)
        return bytes(taken)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Put the body's next bytes into `buffer`: their number, 0 at the end.

        Returns as soon as there are some. `BodyCut` where the body ends early or is malformed,
        `ConnectionFailed` (TIMEOUT) where nothing or next to nothing comes, `Cancelled`.
        """
        self._exchange.cancel.check()
        if not self._open:
            return 0
        try:
            count = self._answer.receive(memoryview(buffer).cast("B"))
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._finish(keep=False)
            self._exchange.cancel.check()
            raise self._explain(error) from None
        # A cut line may look like an orderly end.
        if self._exchange.cancel.cancelled:
            self._finish(keep=False)
        self._exchange.cancel.check()
        self._count += count
        if self._answer.at_end:
            self._answer.close()
            self._finish(keep=True)
        return count

    def close(self) -> None:
        """Be done with it: a short rest is read so that the connection can serve again."""
        if self._open and self._can_drain():
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                self._drain()
        self._finish(keep=False)

    def _can_drain(self) -> bool:
        expected = self._answer.expected
        left = 0 if expected is None else expected - self._count
        return (
            self._connection.whole
            and not self._connection.is_closed
            and not self._exchange.cancel.cancelled
            and left <= _DRAINED
        )

    def _drain(self) -> None:
        self._connection.sock.settimeout(_DRAIN_SECONDS)
        end = time.monotonic() + _DRAIN_SECONDS
        block, count = memoryview(bytearray(_DRAINED)), 0
        while count < _DRAINED and not self._answer.at_end and time.monotonic() < end:
            count += self._answer.receive(block)
        if self._answer.at_end:
            self._answer.close()
            self._finish(keep=True)

    def _finish(self, *, keep: bool) -> None:
        """Give connection and slot back, once."""
        if not self._open:
            return
        self._open = False
        raw = self._exchange.raw
        if keep and self._connection.whole:
            if self._connection.is_closed:
                self._connection.hang_up()
        else:
            raw.close()
            self._connection.close()
        raw.release_conn()
        self._exchange.release()

    def _too_large(self, limit: int) -> BodyTooLarge:
        return BodyTooLarge(
            f"{self._exchange.peer.title} sends more than the {limit} bytes allowed here"
        )

    def _explain(self, error: Exception) -> ConnectionFailed | BodyCut:
        title = self._exchange.peer.title
        expected = self._answer.expected
        seconds = self._exchange.read_timeout
        amount = f"{self._count} of {expected} bytes" if expected else f"{self._count} bytes"
        match error:
            case TimeoutError():
                return ConnectionFailed(
                    Failure.TIMEOUT,
                    f"{title} has stopped sending",
                    why=f"next to nothing came in {seconds:g} s, after {amount}",
                    hint="try again",
                )
            case Malformed():
                why = str(error)
            case Cut():
                why = f"it ended after {amount}"
            case ssl.SSLError() if not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
                why = unanswered(error, self._exchange.peer, 0).failed.what
            case _:
                why = f"the connection broke after {amount}"
        return BodyCut(f"the answer of {title} is not whole", why=why, hint="try again")
