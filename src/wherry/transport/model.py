# SPDX-License-Identifier: Apache-2.0
"""Requests, their bodies, and what surrounds them, as plain values.

Nothing here imports an HTTP library: whoever only describes a request does not pay for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO, NamedTuple, Protocol


class Body(Protocol):
    """Bytes to send, which can be read again from any offset when a request is repeated."""

    @property
    def size(self) -> int:
        """How many bytes there are."""

    def open(self, offset: int) -> BinaryIO:
        """The bytes from `offset` on, closed by the caller."""


class Request(NamedTuple):
    """One HTTP request.

    `url` is absolute. `retry` allows sending it again after a reset, 429 or 5xx; `follow` allows
    redirects. A header whose name is `authorization` never follows a redirect to another origin.
    `confidential`: it carries the user's credentials, so only certificates that the user trusts
    are good enough, not those that a project brings.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Body | None = None
    retry: bool = True
    follow: bool = True
    confidential: bool = False


class HostOptions(NamedTuple):
    """What one `host[:port]` needs apart from the others.

    `plain_http`: http:// is allowed there. `client_certificate` and `client_key` are PEM files, the
    key may be in the certificate's file. `ca_files` are trusted for this host besides the others.
    """

    plain_http: bool = False
    client_certificate: str = ""
    client_key: str = ""
    ca_files: tuple[str, ...] = ()


class TransportOptions(NamedTuple):
    """How all requests of one process are made.

    `env` gives proxies (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY in both cases) and
    SSL_CERT_FILE, SSL_CERT_DIR. `ca_files` are PEM files trusted besides the system's,
    `project_ca_files` those trusted for requests that are not `confidential`. `hosts` maps
    `host[:port]`. `per_host` is the number of connections to one host at once. Times in seconds;
    `retries` counts repetitions after the first try.
    """

    env: Mapping[str, str]
    ca_files: tuple[str, ...] = ()
    hosts: Mapping[str, HostOptions] = {}
    per_host: int = 4
    connect_timeout: float = 15.0
    read_timeout: float = 60.0
    retries: int = 5
    user_agent: str = "wherry"
    project_ca_files: tuple[str, ...] = ()
