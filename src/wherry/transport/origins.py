# SPDX-License-Identifier: Apache-2.0
"""Where a URL leads: scheme, host and port, what the settings say about them, and what is refused.

URLs come from users, from registries' answers and from token services, so all of them are judged
here before a connection is made: no user information, no characters that could end a request line,
plain HTTP only within this machine or where the settings allow it. Error texts name scheme, host
and port only, since paths and queries may hold signatures.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

from wherry.transport.errors import ConnectionFailed, Failure
from wherry.transport.model import HostOptions, TransportOptions

_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_.])?")
_PRINTABLE = re.compile(r"[!-~]+")


class Origin(NamedTuple):
    """RFC 6454: what credentials are bound to. `host` is lower case, without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def name(self) -> str:
        """`host[:port]` as users write it; the scheme's own port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine by its very name."""
        return is_loopback(self.host)


def parse_origin(url: str, what: str = "a URL cannot be used") -> Origin:
    """The origin of an absolute http(s) URL.

    Raises `ConnectionFailed` (PROTOCOL) saying `what` where the URL is unusable; the URL itself
    stays out of the text, since it may hold a password or a signature.
    """
    if not _PRINTABLE.fullmatch(url):
        raise _unusable(what, "it holds characters that URLs cannot hold")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _unusable(what, "its host or port is malformed") from None
    if parts.scheme not in _PORTS:
        raise _unusable(what, "it is neither https:// nor http://")
    if "@" in parts.netloc:
        raise _unusable(what, "it holds a user name or password")
    if not _is_host(host) or port == 0:
        raise _unusable(what, "its host or port is malformed")
    return Origin(parts.scheme, host, port or _PORTS[parts.scheme])


def host_options(origin: Origin, options: TransportOptions) -> HostOptions:
    """What the settings say about this host and port."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    for key in (origin.name, f"{host}:{origin.port}"):
        if key in options.hosts:
            return options.hosts[key]
    return HostOptions()


def check_plain(origin: Origin, options: TransportOptions) -> None:
    """Raise `ConnectionFailed` (PROTOCOL) for plain HTTP where it is not allowed."""
    if origin.scheme == "https" or origin.is_loopback:
        return
    if not host_options(origin, options).plain_http:
        raise ConnectionFailed(
            Failure.PROTOCOL,
            f"http://{origin.name} is not encrypted",
            why="plain HTTP is used only within this machine and where the settings allow it",
            hint=f'if you trust the network, add "{origin.name}" to `[registry] insecure`',
        )


def is_loopback(host: str) -> bool:
    """Whether `host` is localhost, *.localhost (RFC 6761, 6.3), 127.0.0.0/8 or ::1."""
    host = host.rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_host(host: str) -> bool:
    if ":" not in host:
        return _NAME.fullmatch(host) is not None and ".." not in host
    try:
        return "%" not in host and ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def _unusable(what: str, why: str) -> ConnectionFailed:
    return ConnectionFailed(Failure.PROTOCOL, what, why=why)
