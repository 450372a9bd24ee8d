# SPDX-License-Identifier: Apache-2.0
"""A relay between a step and the user's ssh agent that lets through no more than signing.

A step may list keys and have something signed; adding, removing and locking keys, and everything
else of the ssh agent protocol (draft-miller-ssh-agent, section 5), is answered with a failure
here and never reaches the agent.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from contextlib import suppress
from typing import Final, Self

_REQUEST_IDENTITIES: Final = 11
_SIGN_REQUEST: Final = 13
_ALLOWED: Final = (_REQUEST_IDENTITIES, _SIGN_REQUEST)
_FAILURE: Final = struct.pack(">IB", 1, 5)
# What OpenSSH's own agent and clients take.
_LARGEST: Final = 256 * 1024
_LENGTH: Final = struct.Struct(">I")


class AgentRelay:
    """A socket at `path` that stands for the agent at `upstream`; a context manager.

    Connections end with the block. The socket's directory must be short-lived and our own.
    """

    def __init__(self, path: str, upstream: str) -> None:
        """Listen. Raises `OSError`."""
        self._upstream = upstream
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closed = False
        self._listener = _listen(path)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._closed = True
            connections = [self._listener, *self._open]
        for connection in connections:
            # Wakes whoever waits for it; the thread that reads from it closes it.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
            both = {client, agent}
            with self._lock:
                if self._closed:
                    return
                self._open |= both
            try:
                with suppress(OSError):
                    connect(agent, self._upstream)
                    while exchange(client, agent):
                        pass
            finally:
                with self._lock:
                    self._open -= both


def exchange(client: socket.socket, agent: socket.socket) -> bool:
    """Carry one request and its answer; False once either side ended or broke the protocol."""
    request = _message(client)
    if not request:
        return False
    if request[0] not in _ALLOWED:
        client.sendall(_FAILURE)
        return True
    agent.sendall(_LENGTH.pack(len(request)) + request)
    answer = _message(agent)
    if not answer:
        return False
    client.sendall(_LENGTH.pack(len(answer)) + answer)
    return True


def connect(connection: socket.socket, path: str) -> None:
    """Connect to a socket of any path's length. Raises `OSError`."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        # A socket's path has at most 108 bytes.
        connection.connect(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        descriptor = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            listener.bind(f"/proc/self/fd/{descriptor}/{os.path.basename(path)}")
        finally:
            os.close(descriptor)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def _message(connection: socket.socket) -> bytes:
    """One message without its length; empty at the end, or for one that is too long."""
    head = _exactly(connection, _LENGTH.size)
    if not head:
        return b""
    (length,) = _LENGTH.unpack(head)
    return _exactly(connection, length) if length <= _LARGEST else b""


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            return b""
        data += more
    return data
