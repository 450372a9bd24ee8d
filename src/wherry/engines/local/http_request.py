# SPDX-License-Identifier: Apache-2.0
"""The request for a URL that a user wrote in a Dockerfile or on the command line."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote, unquote_to_bytes, urldefrag

from wherry.errors import UsageError
from wherry.transport.model import HostOptions, Request, TransportOptions
from wherry.vcs.remote import public_url

_URL: Final = re.compile(r"(https?)://([^/?]*)([^?]*)(\?.*)?", re.IGNORECASE | re.DOTALL)
_PATH: Final = "/!$&'()*+,:;=@[]%"
_QUERY: Final = _PATH + '?#{}|\\^`"<>'


def request_for(url: str, options: TransportOptions) -> tuple[Request, TransportOptions]:
    """The request, and the options to send it with. Raises `UsageError` for what is no such URL.

    User name and password become a header. Plain HTTP is allowed if the URL says so, and then its
    redirects may be plain, too: nothing on the way is protected any more.
    """
    match = _URL.fullmatch(urldefrag(url).url)
    if match is None or re.search(r"[\x00-\x1f\x7f]", url):
        raise UsageError(f"not the URL of a file: {public_url(url) or 'it'} cannot be used",
                         hint="use https:// or http://")  # fmt: skip
    scheme, authority, path, query = match[1].lower(), match[2], match[3], match[4] or ""
    user, _, host = authority.rpartition("@")
    headers: tuple[tuple[str, str], ...] = ()
    if user:
        name, _, password = user.partition(":")
        pair = b":".join((unquote_to_bytes(name), unquote_to_bytes(password)))
        headers = (("Authorization", f"Basic {base64.b64encode(pair).decode()}"),)
    clean = f"{scheme}://{host}{_quoted(path, _PATH) or '/'}{_quoted(query, _QUERY)}"
    if scheme == "http":
        options = options._replace(hosts=_Plain(options.hosts))
    return Request("GET", clean, headers, confidential=bool(user)), options


def _quoted(text: str, safe: str) -> str:
    return quote(text, safe=safe, errors="surrogateescape")


class _Plain(Mapping[str, HostOptions]):
    """The options of all hosts, plain HTTP allowed."""

    def __init__(self, hosts: Mapping[str, HostOptions]) -> None:
        self._hosts = hosts

    def __getitem__(self, host: str) -> HostOptions:
        return self._hosts.get(host, HostOptions())._replace(plain_http=True)

    def __contains__(self, host: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self._hosts)

    def __len__(self) -> int:
        return len(self._hosts)
