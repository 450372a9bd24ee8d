# SPDX-License-Identifier: Apache-2.0
"""Following redirects (RFC 9110, 15.4), so that credentials stay where they belong.

GET and HEAD follow every kind of redirect, other methods only 307 and 308, which keep method and
body. What proves who the user is goes to the first origin only, and does not come back after a
detour. A redirect never leads from https to http, except to a host for which the settings allow it.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urldefrag, urljoin

from wherry.transport.errors import ConnectionFailed, Failure
from wherry.transport.model import Request, TransportOptions
from wherry.transport.origins import check_plain, host_options, parse_origin

_ANY_METHOD: Final = frozenset({307, 308})
_SAFE_METHOD: Final = frozenset({301, 302, 303, 307, 308})
_BOUND_TO_ORIGIN: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
_LIMIT = 10


class Route:
    """One request's way from redirect to redirect."""

    def __init__(self, request: Request, options: TransportOptions) -> None:
        self._options = options
        self._seen = {request.url}

    def following(self, request: Request, status: int, location: str) -> Request | None:
        """The request that the answer redirects to; None where it is the last answer.

        `ConnectionFailed` (PROTOCOL) for loops, more than ten redirects and unusable targets.
        """
        followed = _SAFE_METHOD if request.method in ("GET", "HEAD") else _ANY_METHOD
        if not request.follow or status not in followed or not location:
            return None
        # Header texts are octets (RFC 9110, 5.5): what is not ASCII gets percent-encoded as it is.
        target = quote(location.strip().encode("latin-1"), safe="!#$%&'()*+,/:;=?@[]~-._")
        try:
            url = urldefrag(urljoin(request.url, target)).url
        except ValueError:
            url = target
        self._check(request, url)
        self._seen.add(url)
        here, there = parse_origin(request.url), parse_origin(url)
        kept = request.headers
        if here != there:
            kept = tuple(pair for pair in kept if pair[0].lower() not in _BOUND_TO_ORIGIN)
        return request._replace(url=url, headers=kept)

    def _check(self, request: Request, url: str) -> None:
        here = parse_origin(request.url)
        if url in self._seen or len(self._seen) > _LIMIT:
            way = "in a loop" if url in self._seen else f"more than {_LIMIT} times"
            raise ConnectionFailed(
                Failure.PROTOCOL,
                f"{here.name} redirects {way}",
                hint="the server, or a proxy before it, is set up wrongly",
            )
        there = parse_origin(url, f"{here.name} redirects to a URL that cannot be used")
        if there.is_loopback and not here.is_loopback:
            # A server elsewhere has no business with what runs on this machine.
            raise ConnectionFailed(
                Failure.PROTOCOL,
                f"{here.name} redirects to this machine itself",
                hint="the server, or a proxy before it, is set up wrongly",
            )
        check_plain(there, self._options)
        allowed = host_options(there, self._options).plain_http
        if here.scheme == "https" and there.scheme == "http" and not allowed:
            raise ConnectionFailed(
                Failure.PROTOCOL,
                f"https://{here.name} redirects to http://{there.name}, which is not encrypted",
                hint=f'if you trust that, add "{there.name}" to `[registry] insecure`',
            )
