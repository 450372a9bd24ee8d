# SPDX-License-Identifier: Apache-2.0
"""Whether a registry is spoken to by https or http.

Other machines' registries are asked by https, those that the user's settings call insecure by
http. On this machine either is usual, so the first request to a host finds out: it goes by http,
without credentials, and where a TLS server is what answers, https is used from then on. Nothing is
asked only to find out, except where the first request would change something.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from wherry.errors import NetworkError
from wherry.registry.model import Scope
from wherry.transport.errors import ConnectionFailed, Failure
from wherry.transport.model import Request
from wherry.transport.origins import parse_origin
from wherry.transport.retrying import RETRIED

if TYPE_CHECKING:
    from wherry.transport.http import Response

Make = Callable[[str], tuple[Request, Scope]]
"""A request and what it is for, at an origin such as `https://registry.example.com`."""

_READING: Final = ("GET", "HEAD")
# Not in an address, such as that of the server's documentation.
_COMPLAINT = re.compile(rb"\bhttps\b(?!://)", re.IGNORECASE)
_COMPLAINT_LIMIT = 4096
# How a TLS server takes leave of someone who speaks HTTP, if it says nothing for people.
_MUTE: Final = (Failure.RESET, Failure.PROTOCOL)


class Authorizing(Protocol):
    """Sends requests with what the registry asks for: an `Authorizer`."""

    def send(self, request: Request, scope: Scope) -> Response:
        """The answer; `NetworkError` where there is none, or where it is 401 or 403."""


class Schemes:
    """Sends requests to hosts by the scheme that each of them speaks. Thread-safe."""

    def __init__(self, authorizer: Authorizing, insecure: Iterable[str]) -> None:
        self._authorizer = authorizer
        self._insecure = frozenset(insecure)
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}
        self._deciding: dict[str, threading.Lock] = {}

    def allows_plain(self, host: str) -> bool:
        """Whether http may be used with `host[:port]`."""
        return host in self._insecure or parse_origin(f"http://{host}").is_loopback

    def send(self, host: str, make: Make, scheme: str = "") -> Response:
        """The answer of `host[:port]`; `scheme` is set where it is known for other reasons."""
        scheme = scheme or self._of(host)
        if not scheme:
            with self._lock:
                deciding = self._deciding.setdefault(host, threading.Lock())
            with deciding:
                scheme = self._of(host)
                if not scheme:
                    return self._find_out(host, make)
        return self._ask(scheme, host, make)

    def _of(self, host: str) -> str:
        if host in self._insecure:
            return "http"
        if not parse_origin(f"https://{host}").is_loopback:
            return "https"
        return self._known.get(host, "")

    def _ask(self, scheme: str, host: str, make: Make, *, once: bool = False) -> Response:
        request, scope = make(f"{scheme}://{host}")
        return self._authorizer.send(request._replace(retry=request.retry and not once), scope)

    def _find_out(self, host: str, make: Make) -> Response:
        request, _ = make(f"http://{host}")
        if request.method in _READING:
            return self._first(host, make)
        # What changes something must not go to a server that may not understand it.
        self._first(host, _probing(make)).close()
        return self._ask(self._known[host], host, make)

    def _first(self, host: str, make: Make) -> Response:
        """The answer to a host's first request, which decides."""
        is_tls = False
        try:
            response = self._ask("http", host, make, once=True)
        except ConnectionFailed as error:
            if error.failure not in _MUTE:
                raise
        except NetworkError:
            self._known[host] = "http"  # it was understood, and refused
            raise
        else:
            if response.status != HTTPStatus.BAD_REQUEST:
                return self._settled("http", host, make, response)
            is_tls = _complains(response)
            # The answer to HEAD has no words to complain in.
            if not is_tls and make(f"http://{host}")[0].method != "HEAD":
                return self._settled("http", host, make, None)
        return self._first_encrypted(host, make, is_tls=is_tls)

    def _first_encrypted(self, host: str, make: Make, *, is_tls: bool) -> Response:
        try:
            response = self._ask("https", host, make, once=True)
        except ConnectionFailed as error:
            # Whatever is wrong with its TLS, the server speaks it. Any other may have dropped the
            # plain request for a reason of its own: it is asked again, with patience.
            if is_tls or error.speaks_tls:
                raise
            response = self._ask("http", host, make)
            self._known[host] = "http"
            return response
        except NetworkError:
            self._known[host] = "https"
            raise
        return self._settled("https", host, make, response)

    def _settled(self, scheme: str, host: str, make: Make, response: Response | None) -> Response:
        """Remember the scheme; ask again if there is no answer or patience may bring a better."""
        self._known[host] = scheme
        if response is not None:
            patient = make(f"{scheme}://{host}")[0].retry
            if response.status not in RETRIED or not patient:
                return response
            response.close()
        return self._ask(scheme, host, make)


def _probing(make: Make) -> Make:
    def probe(origin: str) -> tuple[Request, Scope]:
        return Request("GET", f"{origin}/v2/"), make(origin)[1]

    return probe


def _complains(response: Response) -> bool:
    """Whether this answer, which is closed, says that https was expected."""
    buffer = bytearray(_COMPLAINT_LIMIT)
    with response:
        try:
            count = response.readinto(buffer)
        except NetworkError:
            return False
    return _COMPLAINT.search(buffer[:count]) is not None
