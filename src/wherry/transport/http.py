# SPDX-License-Identifier: Apache-2.0
"""Requests and answers over HTTP/1.1, with TLS, proxies, retries and redirects.

A `Transport` is made once for a process's options and used by all its threads. It keeps
connections open between requests, bounds their number for each host, and is woken by its cancel
token wherever it waits: for a name, a connection, an answer, a body, a slot, or before a retry.
"""

from __future__ import annotations

import contextlib
import http
import http.client
import math
import random as randomness
import re
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

import urllib3
import urllib3.exceptions
from urllib3.response import BaseHTTPResponse

from wherry.errors import UsageError
from wherry.events import Level, Message, Sink, discard
from wherry.process.cancel import CancelToken
from wherry.transport.errors import ConnectionFailed, Failure
from wherry.transport.explain import Broken, Peer, proxy_denied, stale, unanswered
from wherry.transport.framing import Pace
from wherry.transport.lines import Switchboard
from wherry.transport.model import Request, TransportOptions
from wherry.transport.origins import check_plain, parse_origin
from wherry.transport.pools import Pools
from wherry.transport.proxies import proxy_for
from wherry.transport.redirects import Route
from wherry.transport.response import Exchange, Headers, Response
from wherry.transport.retrying import Patience
from wherry.transport.sending import Sending
from wherry.transport.slots import pause
from wherry.transport.wire import Stale, Wiring

__all__ = ["Headers", "Response", "Transport"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_OURS = frozenset({"content-length", "transfer-encoding", "connection", "host", "accept-encoding"})


class Transport:
    """Sends requests. Thread-safe; `close` ends the connections that are kept.

    `sleep`, `random` (0 to 1) and `clock` (seconds) are for tests.
    """

    def __init__(
        self,
        options: TransportOptions,
        cancel: CancelToken,
        sink: Sink = discard,
        *,
        sleep: Callable[[float], None] | None = None,
        random: Callable[[], float] = randomness.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._cancel = cancel
        self._sink = sink
        self._sleep = sleep or partial(pause, cancel=cancel)
        self._random = random
        self._clock = clock
        switchboard = Switchboard(cancel)
        pace = Pace(max(60.0, options.read_timeout), clock)
        self._pools = Pools(options, Wiring(switchboard, pace, options.read_timeout), cancel)
        self._closing = contextlib.ExitStack()
        self._closing.enter_context(cancel.on_cancel(switchboard.cut_all))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that wait for further requests."""
        self._pools.close()
        self._closing.close()

    def send(self, request: Request) -> Response:
        """The answer, whatever its status, after redirects and retries.

        `ConnectionFailed` where there is none, `Cancelled`, `UsageError` for headers that cannot
        be sent and for proxies or certificate files that cannot be used, and what opening and
        reading the body raises (`OSError` becomes `MachineError`).
        """
        _check_headers(request)
        route = Route(request, self._options)
        retries = self._options.retries if request.retry else 0
        patience = Patience(retries, self._clock, self._random)
        while True:
            response = self._persist(request, patience)
            try:
                following = route.following(
                    request, response.status, response.headers.get("location", "")
                )
            except BaseException:
                response.close()
                raise
            if following is None:
                return response
            response.close()
            request = following

    def _persist(self, request: Request, patience: Patience) -> Response:
        """One URL's answer, after retries."""
        while True:
            try:
                response = self._exchange(request)
            except Broken as broken:
                reason = broken.failed.what
                wait = (
                    patience.after_stale()
                    if broken.stale
                    else patience.after_failure(broken.repeats)
                )
                if wait is None:
                    raise broken.failed from None
            else:
                status = response.status
                wait = patience.after_answer(status, response.headers.get("retry-after", ""))
                if wait is None:
                    return response
                response.close()
                reason = f"{parse_origin(request.url).name} answers {status}{_phrase(status)}"
            if wait:
                self._wait(reason, wait)

    def _wait(self, reason: str, seconds: float) -> None:
        shown = max(1, math.ceil(seconds))
        self._sink(Message(Level.INFO, f"{reason}; trying again in {shown} s"))
        self._sleep(seconds)
        self._cancel.check()

    def _exchange(self, request: Request) -> Response:
        """One request, one answer; `Broken` where none came."""
        origin = parse_origin(request.url)
        check_plain(origin, self._options)
        proxy = proxy_for(origin, self._options.env)
        manager = self._pools.manager(origin, proxy, confidential=request.confidential)
        sending = Sending(request.body) if request.body is not None else None
        peer = Peer(origin.name)
        release = self._pools.slots(origin).take()
        try:
            raw = self._urlopen(manager, request, sending, peer)
            timeout = self._options.read_timeout
            response = Response(Exchange(request.url, peer, raw, release, self._cancel, timeout))
        except BaseException:
            release()
            raise
        finally:
            if sending is not None:
                sending.close()
        if response.status == http.HTTPStatus.PROXY_AUTHENTICATION_REQUIRED and proxy:
            response.close()
            raise Broken(proxy_denied(Peer(proxy.name, proxy=True)))
        return response

    def _urlopen(
        self,
        manager: urllib3.PoolManager,
        request: Request,
        sending: Sending | None,
        peer: Peer,
    ) -> BaseHTTPResponse:
        try:
            return manager.urlopen(
                request.method,
                request.url,
                body=sending,
                headers=self._headers(request, sending),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
                release_conn=False,
            )
        except Stale:
            self._cancel.check()
            raise stale(peer) from None
        except (
            OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError,
        ) as error:  # fmt: skip
            self._cancel.check()
            raise unanswered(error, peer, self._options.read_timeout) from None

    def _headers(self, request: Request, sending: Sending | None) -> urllib3.HTTPHeaderDict:
        headers = urllib3.HTTPHeaderDict({"User-Agent": self._options.user_agent})
        for name, value in request.headers:
            if name.lower() == "user-agent":
                headers["User-Agent"] = value
            elif name.lower() not in _OURS:
                headers.add(name.title(), value)
        # Digests are of the bytes as stored, so nothing may compress them on the way.
        headers["Accept-Encoding"] = "identity"
        if sending is not None:
            headers["Content-Length"] = str(sending.size)
        return headers


def _check_headers(request: Request) -> None:
    """RFC 9110, 5.1 and 5.5: nothing that could begin another line."""
    for name, value in request.headers:
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            shown = name if _TOKEN.fullmatch(name) else "a header"
            raise UsageError(
                f"{shown} cannot be sent in a request",
                why="it holds a line break or a character that headers cannot hold",
            )
    if not _TOKEN.fullmatch(request.method):
        raise ConnectionFailed(Failure.PROTOCOL, "a request's method is malformed")


def _phrase(status: int) -> str:
    with contextlib.suppress(ValueError):
        return f" ({http.HTTPStatus(status).phrase.lower()})"
    return ""
