# SPDX-License-Identifier: Apache-2.0
"""Which proxy a request goes through, by the environment's variables.

No standard describes them; these are the rules of Go and curl, so that a machine set up for them
works here. `https_proxy`, `http_proxy` and then `all_proxy` name the proxy, `no_proxy` what is
reached without one. The lower-case name wins where both are set, also when it is empty. Upper-case
HTTP_PROXY is left alone inside a CGI process, where a client could set it by a `Proxy:` header.
This machine itself is never reached through a proxy.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from wherry.errors import UsageError
from wherry.transport.origins import Origin


class Proxy(NamedTuple):
    """A proxy by its URL, which holds no credentials; `authorization` is a header's value."""

    url: str
    authorization: str = ""

    @property
    def name(self) -> str:
        """`host:port`."""
        return self.url.partition("://")[2]

    def __repr__(self) -> str:
        return f"Proxy({self.url!r})"


def proxy_for(origin: Origin, env: Mapping[str, str]) -> Proxy | None:
    """The proxy for `origin`, or None; `UsageError` where a variable cannot be understood."""
    if origin.is_loopback:
        return None
    variable, value = _proxy_variable(origin.scheme, env)
    if not value or _is_excepted(origin, _either(env, "no_proxy")[1]):
        return None
    return _parse(variable, value)


def _proxy_variable(scheme: str, env: Mapping[str, str]) -> tuple[str, str]:
    name, value = _either(env, f"{scheme}_proxy")
    if name == "HTTP_PROXY" and "REQUEST_METHOD" in env:
        name, value = "", ""
    return (name, value) if name else _either(env, "all_proxy")


def _either(env: Mapping[str, str], lower: str) -> tuple[str, str]:
    for name in (lower, lower.upper()):
        if name in env:
            return name, env[name].strip()
    return "", ""


def _parse(variable: str, value: str) -> Proxy:
    text = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _bad(variable, "its host or port is malformed") from None
    if parts.scheme not in ("http", "https"):
        raise _bad(variable, "only http:// and https:// proxies are understood")
    host = parts.hostname
    if not host or any(char <= " " or char > "~" for char in text):
        raise _bad(variable, "its host is malformed")
    shown = f"[{host}]" if ":" in host else host
    number = port or (443 if parts.scheme == "https" else 80)
    return Proxy(f"{parts.scheme}://{shown}:{number}", _basic(parts))


def _basic(parts: SplitResult) -> str:
    userinfo, found, _ = parts.netloc.rpartition("@")
    if not found:
        return ""
    user, _, password = userinfo.partition(":")
    joined = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return "Basic " + base64.b64encode(joined).decode("ascii")


def _bad(variable: str, why: str) -> UsageError:
    # The value stays out of the text: it may hold a password.
    return UsageError(
        f"the proxy in {variable} cannot be used",
        why=why,
        hint=f"set {variable} to http://HOST:PORT, or unset it",
    )


def _is_excepted(origin: Origin, no_proxy: str) -> bool:
    words = no_proxy.replace(",", " ").split()
    return any(_matches(origin, word.lower()) for word in words)


def _matches(origin: Origin, word: str) -> bool:
    if word == "*":
        return True
    if "/" in word:
        return _in_network(origin.host, word)
    host, port = _split_port(word)
    if port and port != str(origin.port):
        return False
    if _address(host) is not None:
        return _address(host) == _address(origin.host)
    wanted = origin.host.rstrip(".")
    host = host.removeprefix("*").rstrip(".")
    if host.startswith("."):
        return wanted.endswith(host)
    return bool(host) and (wanted == host or wanted.endswith(f".{host}"))


def _split_port(word: str) -> tuple[str, str]:
    if word.startswith("["):
        host, _, rest = word[1:].partition("]")
        return host, rest.removeprefix(":")
    if word.count(":") == 1:
        host, _, port = word.partition(":")
        return host, port
    return word, ""


def _in_network(host: str, network: str) -> bool:
    address = _address(host)
    try:
        return address is not None and address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
