# SPDX-License-Identifier: Apache-2.0
"""Failures of sockets, TLS and HTTP in words that say what to do.

Texts of the libraries below are not passed on where they may hold URLs or bytes of the peer.
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import socket
import ssl
from typing import NamedTuple

import urllib3.exceptions

from wherry.transport.errors import ConnectionFailed, Failure
from wherry.transport.framing import Malformed

_TRUST_HINT = (
    "if you trust its certificate authority, name that one's file with --ca FILE, "
    "or as `[registry] ca` in your own config.toml"
)
_REACH_HINT = "check the name and port, and what lies between: firewall, proxy"
_AGAIN_HINT = "try again later; if it stays so, ask who runs the server"
_ALWAYS = 1000
# X509_V_ERR_* of OpenSSL's x509_vfy.h.
_EXPIRED, _NOT_YET = 10, 9
_WRONG_NAMES = frozenset({62, 63, 64})
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL",
                      "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})  # fmt: skip
# The peer has gone, with or without saying so.
_CLOSED = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
# What servers send, as alerts, that do not accept a client's certificate (RFC 8446, 6.2).
_NO_CLIENT = re.compile(r"ALERT.*(CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)|CERTIFICATE.*ALERT")
_OLD = re.compile("UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION|INSUFFICIENT_SECURITY")
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})\b")
_BAD_GATEWAY = frozenset({"408", "429", "500", "502", "503", "504"})


class Broken(Exception):
    """No answer came; the request may be repeated at most `repeats` times because of that.

    `stale`: a kept connection was closed meanwhile, so that there is nothing to wait for.
    """

    def __init__(self, failed: ConnectionFailed, repeats: int = 0, *, stale: bool = False) -> None:
        super().__init__()
        self.failed = failed
        self.repeats = repeats
        self.stale = stale


class Peer(NamedTuple):
    """Who did not answer, by `host[:port]`; `proxy` is set where that is a proxy's."""

    name: str
    proxy: bool = False

    @property
    def title(self) -> str:
        """For use inside a sentence."""
        return f"the proxy {self.name}" if self.proxy else self.name


def not_connected(error: Exception, peer: Peer, timeout: float) -> Broken:
    """Why no connection came to be; `error` is what the socket or TLS said."""
    match error:
        case socket.gaierror():
            broken = _no_name(error, peer)
        case TimeoutError() | urllib3.exceptions.TimeoutError():
            what = f"cannot reach {peer.title}: no connection in {timeout:g} s"
            broken = _broken(Failure.TIMEOUT, what, 2, hint=_REACH_HINT)
        case ssl.SSLError() if not isinstance(error, _CLOSED):
            return Broken(tls_failure(error, peer))
        case OSError() if found := _TUNNEL.search(str(error)):
            return _no_tunnel(found[1], peer)
        case OSError():
            broken = _unreachable(error, peer)
        case _:
            return unanswered(error, peer, timeout)
    if peer.proxy:
        broken.failed.failure = Failure.PROXY
        broken.failed.hint = "check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY"
    return broken


def unanswered(error: BaseException, peer: Peer, timeout: float) -> Broken:
    """Why a connection gave no answer, or no whole one."""
    match _root(error):
        case ssl.SSLError() as cause if not isinstance(cause, _CLOSED):
            return Broken(tls_failure(cause, peer))
        case TimeoutError() | urllib3.exceptions.TimeoutError():
            what = f"{peer.title} did not answer in {timeout:g} s"
            return _broken(Failure.TIMEOUT, what, 2, hint=_AGAIN_HINT)
        case OSError():
            what = f"{peer.title} closed the connection unanswered"
            return _broken(Failure.RESET, what, _ALWAYS, hint=_AGAIN_HINT)
        case Malformed() as cause:
            why = str(cause)
        case http.client.HTTPException():
            why = "its answer is not well formed"
        case _:
            why = "the answer cannot be understood"
    return _broken(
        Failure.PROTOCOL,
        f"{peer.title} does not speak HTTP",
        why=why,
        hint="check that the name and port are a registry's",
    )


def stale(peer: Peer) -> Broken:
    """A kept connection was closed by the peer before it saw the request."""
    broken = unanswered(ConnectionResetError(), peer, 0)
    return Broken(broken.failed, broken.repeats, stale=True)


def tls_failure(error: ssl.SSLError, peer: Peer) -> ConnectionFailed:
    """What TLS did not like."""
    hint = _TRUST_HINT
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message
        if error.verify_code in (_EXPIRED, _NOT_YET):
            state = "has expired" if error.verify_code == _EXPIRED else "is not valid yet"
            what = f"the certificate of {peer.title} {state}"
            hint = "the server needs a new one; or this machine's clock is wrong"
        elif error.verify_code in _WRONG_NAMES:
            what = f"the certificate of {peer.title} is for another name"
            hint = "use the name that the certificate has"
        else:
            what = f"the certificate of {peer.title} is not trusted"
        return _about_tls(what, why, hint)
    reason = error.reason or ""
    why = reason.lower().replace("_", " ")
    if reason in _NOT_TLS:
        what = f"{peer.title} does not speak TLS"
        hint = f'if it serves plain HTTP and you trust that, add "{peer.name}" to '
        hint += "`[registry] insecure`"
        return ConnectionFailed(Failure.TLS, what, why=why, hint=hint)
    if _NO_CLIENT.search(reason):
        what = f"{peer.title} asks for a client certificate that it accepts"
        hint = "name certificate and key in `[registry.client-certificates]` of your config.toml"
    elif _OLD.search(reason):
        what = f"{peer.title} speaks no TLS that is safe"
        hint = "the server has to offer TLS 1.2 or later"
    else:
        what = f"TLS with {peer.title} failed"
    return _about_tls(what, why, hint)


def _about_tls(what: str, why: str, hint: str) -> ConnectionFailed:
    failed = ConnectionFailed(Failure.TLS, what, why=why, hint=hint)
    failed.speaks_tls = True
    return failed


def _no_name(error: socket.gaierror, peer: Peer) -> Broken:
    if error.errno == socket.EAI_AGAIN:
        why, repeats = "no name server answered", 1
    else:
        why, repeats = "no such name", 0
    return _broken(
        Failure.NAME,
        f"cannot find {peer.title}",
        repeats,
        why=why,
        hint="check the name, and this machine's network",
    )


def _unreachable(error: OSError, peer: Peer) -> Broken:
    if error.errno == errno.ECONNREFUSED:
        why, failure = "connection refused", Failure.REFUSED
    elif error.errno is not None and not isinstance(error, (ConnectionError, ssl.SSLError)):
        why, failure = os.strerror(error.errno).lower(), Failure.REFUSED
    else:
        why, failure = "the connection was closed", Failure.RESET
    hint = "check the name and port, and that the server runs"
    return _broken(failure, f"cannot reach {peer.title}: {why}", 2, hint=hint)


def _no_tunnel(status: str, peer: Peer) -> Broken:
    if status == "407":
        return Broken(proxy_denied(peer))
    return _broken(
        Failure.PROXY,
        f"{peer.title} refuses to connect: it answers {status}",
        2 if status in _BAD_GATEWAY else 0,
        hint="check the name and port, and what the proxy allows",
    )


def proxy_denied(peer: Peer) -> ConnectionFailed:
    """407 (RFC 9110, 15.5.8)."""
    return ConnectionFailed(
        Failure.PROXY,
        f"{peer.title} wants a user name and password",
        why="it answers 407 (proxy authentication required)",
        hint="put them into the proxy's variable: http://USER:PASSWORD@HOST:PORT",
    )


def _broken(
    failure: Failure, what: str, repeats: int = 0, *, why: str = "", hint: str = ""
) -> Broken:
    return Broken(ConnectionFailed(failure, what, why=why, hint=hint), repeats)


def _root(error: BaseException) -> BaseException:
    """What urllib3 has wrapped."""
    while isinstance(error, urllib3.exceptions.HTTPError):
        inner = next((arg for arg in reversed(error.args) if isinstance(arg, Exception)), None)
        if inner is None:
            return error.__cause__ or error
        error = inner
    return error
