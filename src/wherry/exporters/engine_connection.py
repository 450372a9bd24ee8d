# SPDX-License-Identifier: Apache-2.0
"""One connection to an engine: a unix socket, TCP, or TLS with the files that Docker has for it."""

from __future__ import annotations

import http.client
import socket
import ssl
from contextlib import suppress

from wherry.errors import MachineError
from wherry.exporters.engine_endpoint import Endpoint, Material


class EngineConnection(http.client.HTTPConnection):
    """HTTP over a unix socket, TCP or TLS."""

    def __init__(self, endpoint: Endpoint, seconds: float) -> None:
        # The host of a unix socket is nobody's name: Docker's own client says this one.
        super().__init__(endpoint.host or "api.moby.localhost", endpoint.port or 80, seconds)
        self._endpoint = endpoint

    def connect(self) -> None:
        """Open the socket; raises `OSError`, `MachineError` for TLS files that are no good."""
        endpoint = self._endpoint
        if endpoint.path:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(endpoint.path)
            return
        super().connect()
        if endpoint.material is not None:
            context = _tls(endpoint.material)
            self.sock = context.wrap_socket(self.sock, server_hostname=endpoint.host)


def _tls(material: Material) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=material.ca or None)
        if not material.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if material.certificate:
            context.load_cert_chain(material.certificate, material.key or None)
    except (OSError, ssl.SSLError) as error:
        raise MachineError("cannot use the TLS files for the engine",
                           why=f"{material.certificate or material.ca}: {error.strerror or error}",
                           hint="see to DOCKER_CERT_PATH: ca.pem, cert.pem, key.pem",
                           ) from error  # fmt: skip
    return context


def cut(connection: http.client.HTTPConnection) -> None:
    """End every wait on the connection, in whatever thread."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
