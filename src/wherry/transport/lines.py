# SPDX-License-Identifier: Apache-2.0
"""Sockets that another thread can cut.

A thread blocked in a socket call does not see a cancel token. So each connection keeps a second
handle on its socket, which stays valid while TLS takes the first one over, and cancelling shuts
the sockets down through these handles: every blocked call then ends. Name look-up cannot be ended
from outside at all; it and the connecting run in a thread of their own that is left behind.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from wherry.process.cancel import CancelToken

_SocketOptions = list[tuple[int, int, int | bytes]]


class Address(NamedTuple):
    """What to connect to: a name or address without brackets, and how sockets are set up."""

    host: str
    port: int
    socket_options: _SocketOptions


class Line:
    """The second handle on one connection's socket."""

    def __init__(self, sock: socket.socket, forget: Callable[[Line], None]) -> None:
        # Re-entrant: a signal handler may cut in the middle of close.
        self._lock = threading.RLock()
        self._handle = sock.dup()
        self._forget = forget

    def cut(self) -> None:
        """End every call that is blocked on the connection, in whatever thread."""
        with self._lock, contextlib.suppress(OSError):
            self._handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the handle back; the connection itself is closed by its owner."""
        self._forget(self)
        with self._lock:
            self._handle.close()


class Switchboard:
    """All open lines of a transport, and the way to open one. Thread-safe."""

    def __init__(self, cancel: CancelToken) -> None:
        self.cancel = cancel
        self._lines: set[Line] = set()

    def register(self, sock: socket.socket) -> Line:
        """A line for `sock`, cut at once if the token is cancelled already."""
        line = Line(sock, self._lines.discard)
        self._lines.add(line)
        if self.cancel.cancelled:
            line.cut()
        return line

    def cut_all(self) -> None:
        """Cut every line; safe inside a signal handler, since it takes no lock of its own."""
        for line in self._lines.copy():
            line.cut()

    def dial(self, address: Address, timeout: float) -> socket.socket:
        """A connected socket with that timeout, which is for look-up and all addresses together.

        Raises `OSError` (`TimeoutError` and `gaierror` among them) and `Cancelled`.
        """
        self.cancel.check()
        dialing = _Dialing(address, timeout)
        with self.cancel.on_cancel(dialing.leave):
            threading.Thread(target=dialing.run, name="wherry-dial", daemon=True).start()
            outcome = dialing.wait()
        if self.cancel.cancelled and isinstance(outcome, socket.socket):
            outcome.close()
        self.cancel.check()
        if isinstance(outcome, socket.socket):
            return outcome
        raise outcome


class _Dialing:
    """One attempt to connect: its thread and the one that waits agree on who owns the socket."""

    def __init__(self, address: Address, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._outcome: queue.SimpleQueue[socket.socket | OSError] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._left = False

    def run(self) -> None:
        try:
            outcome: socket.socket | OSError = _connect(self._address, self._timeout)
        except OSError as error:
            outcome = error
        except UnicodeError:
            outcome = socket.gaierror(socket.EAI_NONAME, "malformed name")
        with self._lock:
            if not self._left:
                self._outcome.put(outcome)
            elif isinstance(outcome, socket.socket):
                outcome.close()

    def leave(self) -> None:
        """Wake the waiter; SimpleQueue.put is safe inside a signal handler."""
        self._outcome.put(TimeoutError("cancelled"))

    def wait(self) -> socket.socket | OSError:
        try:
            outcome = self._outcome.get(timeout=self._timeout)
        except queue.Empty:
            outcome = TimeoutError("timed out")
        if isinstance(outcome, TimeoutError):
            self._abandon()
        return outcome

    def _abandon(self) -> None:
        with self._lock:
            self._left = True
        with contextlib.suppress(queue.Empty):
            while True:
                late = self._outcome.get_nowait()
                if isinstance(late, socket.socket):
                    late.close()


def _connect(address: Address, timeout: float) -> socket.socket:
    """Try the host's addresses in order, giving each its share of what time is left."""
    end = time.monotonic() + timeout
    found = _look_up(address.host, address.port)
    error: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
    for number, (family, kind, protocol, _, where) in enumerate(found):
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        sock = socket.socket(family, kind, protocol)
        try:
            for option in address.socket_options:
                sock.setsockopt(*option)
            sock.settimeout(left / (len(found) - number))
            sock.connect(where)
        except OSError as failed:
            sock.close()
            error = failed
        else:
            sock.settimeout(timeout)
            return sock
    raise error


def _look_up(
    host: str, port: int
) -> list[
    tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]
]:
    if host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost"):
        # RFC 6761, 6.3: never asked of a name server, so that it cannot lead off this machine.
        kind = socket.SOCK_STREAM
        return [
            (socket.AF_INET, kind, 0, "", ("127.0.0.1", port)),
            (socket.AF_INET6, kind, 0, "", ("::1", port, 0, 0)),
        ]
    return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
