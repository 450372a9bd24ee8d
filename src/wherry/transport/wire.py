# SPDX-License-Identifier: Apache-2.0
"""urllib3's connections, on lines that can be cut and with answers read by `framing`.

urllib3 keeps the connections, speaks to proxies and does TLS; its own retries, redirects,
decoding and time-outs are not used, because each of them hides something that registries need.
"""

from __future__ import annotations

import http.client
import re
import select
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

import urllib3.exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import BaseHTTPResponse, HTTPResponse
from urllib3.util import wait_for_read

from wherry.transport.explain import Peer, not_connected
from wherry.transport.framing import Answer, Pace
from wherry.transport.lines import Address, Line, Switchboard
from wherry.transport.sending import Sending

_INFORMATIONAL = re.compile(rb"HTTP/1\.\d 1")


class Stale(Exception):
    """A kept connection turned out to be closed: the server had not seen the request."""


class Wiring:
    """What all connections of a transport share. Times in seconds."""

    def __init__(self, switchboard: Switchboard, pace: Pace, read_timeout: float) -> None:
        self.switchboard = switchboard
        self.pace = pace
        self.read_timeout = read_timeout


class _Wired(HTTPConnection):
    """What both kinds of connection have."""

    def __init__(self, *args: Any, wiring: Wiring, **kwargs: Any) -> None:  # noqa: ANN401 - urllib3's
        super().__init__(*args, **kwargs)
        self.wiring = wiring
        self.answer: Answer | None = None
        self.whole = False
        self._in_body = False
        # Whether an informational answer came, after which more bytes no longer mean the last one.
        self._informed = False
        self._answers = 0
        self._line: Line | None = None
        self.response_class = self._make_answer  # type: ignore[assignment] # only ever called

    def _make_answer(self, sock: socket.socket, method: str | None, **_other: object) -> Answer:
        self.answer = Answer(sock, self.wiring.pace, method)
        return self.answer

    def _new_conn(self) -> socket.socket:
        # A proxy's IPv6 address still has its brackets here.
        host = self._dns_host.strip("[]")
        address = Address(host, self.port, [*(self.socket_options or ())])
        sock = self.wiring.switchboard.dial(address, self._patience)
        self._line = self.wiring.switchboard.register(sock)
        return sock

    @property
    def _patience(self) -> float:
        return float(self.timeout or self.wiring.read_timeout)

    def connect(self) -> None:
        """Connect, with proxy and TLS where there are; `Broken`, `Cancelled`."""
        patience = self._patience
        try:
            super().connect()
        except (
            OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError,
        ) as error:  # fmt: skip
            self.wiring.switchboard.cancel.check()
            raise not_connected(error, self._peer(error), patience) from None
        self._expect_slowly()

    def _peer(self, error: Exception) -> Peer:
        # Between the proxy's greeting and the tunnel's end only TLS and waiting concern the host.
        beyond = isinstance(error, (ssl.SSLError, TimeoutError)) and self.has_connected_to_proxy
        if self.proxy is not None and not beyond:
            return Peer(f"{self.proxy.host}:{self.proxy.port}", proxy=True)
        host, port = self._tunnel_host or self.host, self._tunnel_port or self.port
        shown = f"[{host}]" if ":" in host else host
        return Peer(shown if port == self.default_port else f"{shown}:{port}")

    def _expect_slowly(self) -> None:
        """From here on a step may take as long as reading may, no longer as connecting may."""
        self.timeout = self.wiring.read_timeout
        if self.sock is not None:
            self.sock.settimeout(self.timeout)

    def request(  # type: ignore[override] # the rest of the parameters is urllib3's own business
        self,
        method: str,
        url: str,
        body: Sending | None = None,
        **kwargs: Any,  # noqa: ANN401 - urllib3's
    ) -> None:
        """Send a request; afterwards `whole` tells whether all of it went out."""
        self.answer = None
        self.whole = self._in_body = self._informed = False
        if self.sock is not None:
            self._expect_slowly()
        super().request(method, url, body=body, **kwargs)  # type: ignore[arg-type] # an iterator
        self.whole = True

    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # urllib3's, as above
        """The answer; `Stale`."""
        kept = self._answers > 0
        try:
            response = super().getresponse()
        except ConnectionError:
            if kept:
                raise Stale from None
            raise
        self._answers += 1
        return response

    def endheaders(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - http.client's
        """Send the headers."""
        super().endheaders(*args, **kwargs)
        self._in_body = True

    def send(self, data: Any) -> None:  # noqa: ANN401 - as http.client has it
        """Send; `BrokenPipeError` where no more need or can be sent, but an answer may be there."""
        if self._in_body and type(self.sock) is socket.socket:
            self._send_unless_answered(self.sock, memoryview(data))
            return
        try:
            super().send(data)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            raise BrokenPipeError from None
        except TimeoutError:
            # Encrypted bytes that come may be TLS's own, so they mean something only now.
            if wait_for_read(self.sock, timeout=0.0):
                raise BrokenPipeError from None
            raise

    def _send_unless_answered(self, sock: socket.socket, data: memoryview) -> None:
        """A server that refuses a body may answer, keep the connection, and read no further."""
        poll = select.poll()
        watched = select.POLLOUT if self._informed else select.POLLIN | select.POLLOUT
        poll.register(sock, watched)
        while data:
            ready = poll.poll(self.wiring.read_timeout * 1000)
            if not ready:
                raise TimeoutError("timed out")
            if ready[0][1] == select.POLLOUT:
                data = data[sock.send(data) :]
            elif not self._informed and _INFORMATIONAL.match(sock.recv(16, socket.MSG_PEEK)):
                self._informed = True
                poll.modify(sock, select.POLLOUT)
            else:
                raise BrokenPipeError

    def close(self) -> None:
        """Close the connection; an answer that is being read from it keeps it until it ends."""
        super().close()
        self._answers = 0
        if self.answer is None or self.answer.isclosed():
            self.hang_up()

    def hang_up(self) -> None:
        """Give the line back."""
        if self._line is not None:
            self._line.close()
            self._line = None


class PlainConnection(_Wired):
    """HTTP."""


class SecureConnection(_Wired, HTTPSConnection):
    """HTTP in TLS."""


def pool_classes(
    wiring: Wiring, made: Callable[[HTTPConnectionPool], None]
) -> dict[str, Callable[..., HTTPConnectionPool]]:
    """For `PoolManager.pool_classes_by_scheme`; `made` is told of each pool."""

    def make(
        pool_class: type[HTTPConnectionPool],
        connection: type[_Wired],
        host: str,
        port: int,
        **context: Any,  # noqa: ANN401 - urllib3's
    ) -> HTTPConnectionPool:
        pool = pool_class(host, port, **context)
        pool.ConnectionCls = partial(connection, wiring=wiring)  # type: ignore[assignment] # a maker
        made(pool)
        return pool

    return {
        "http": partial(make, HTTPConnectionPool, PlainConnection),
        "https": partial(make, HTTPSConnectionPool, SecureConnection),
    }


def wired(response: BaseHTTPResponse) -> tuple[_Wired, Answer]:
    """The connection and the answer behind a response of one of these pools."""
    connection = response.connection
    if not isinstance(connection, _Wired) or connection.answer is None:
        raise TypeError("a response of a foreign pool")
    return connection, connection.answer
