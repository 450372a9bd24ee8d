# SPDX-License-Identifier: Apache-2.0
"""What goes wrong between this machine and a server, by kind, so that callers can react."""

from __future__ import annotations

from enum import StrEnum

from wherry.errors import NetworkError


class Failure(StrEnum):
    """Where a connection failed."""

    NAME = "name"
    REFUSED = "refused"
    TLS = "tls"
    TIMEOUT = "timeout"
    RESET = "reset"
    PROXY = "proxy"
    PROTOCOL = "protocol"


class ConnectionFailed(NetworkError):
    """No answer came; `failure` says why, and `speaks_tls` that it is about the server's TLS."""

    speaks_tls = False

    def __init__(self, failure: Failure, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what, why=why, hint=hint)
        self.failure = failure


class BodyCut(NetworkError):
    """An answer's body ended before its stated length, or its connection broke."""


class BodyTooLarge(NetworkError):
    """An answer's body is longer than the caller wants to read."""
