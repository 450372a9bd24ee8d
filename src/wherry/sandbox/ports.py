# SPDX-License-Identifier: Apache-2.0
"""What `-p` means on the host's network: a check, and a relay where two ports differ.

The program itself listens on its port. `-p N:N` so only makes sure beforehand that nobody else
does; `-p M:N` also takes connections on M and carries them to N.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from wherry.sandbox.request import Port, RunError

_CHUNK: Final = 1 << 16
# How long the program's last words may take to reach their readers once it has ended.
_DRAIN_SECONDS: Final = 2.0


@contextmanager
def published(ports: tuple[Port, ...]) -> Iterator[None]:
    """Check all ports, then relay those that differ inside the block. Raises `RunError`."""
    relays: list[threading.Event] = []
    with ExitStack() as stack:
        for port in ports:
            if port.host != port.program:
                listener = stack.enter_context(_bound(port, port.host))
                listener.listen(128)
                # Closing does not wake a thread in accept(); shutting down does.
                stack.callback(_shut, listener)
                _start(_serve, listener, port.program, relays)
            with _bound(port, port.program):
                pass
        yield
        deadline = time.monotonic() + _DRAIN_SECONDS
        for told in tuple(relays):
            told.wait(max(0.0, deadline - time.monotonic()))


def _bound(port: Port, number: int) -> socket.socket:
    kind = socket.SOCK_DGRAM if port.protocol == "udp" else socket.SOCK_STREAM
    family = socket.AF_INET6 if ":" in port.address else socket.AF_INET
    found = socket.socket(family, kind)
    try:
        if kind is socket.SOCK_STREAM:
            # Connections in TIME_WAIT do not count; a listener still does.
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((port.address, number))
    except (OSError, OverflowError) as error:
        found.close()
        raise _taken(number, error) from error
    return found


def _taken(number: int, error: Exception) -> RunError:
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EADDRINUSE:
        return RunError(
            f"port {number} is already in use",
            why="the program shares this machine's network, and somebody listens there",
            hint="stop that program, or relay another port: -p OTHER:PORT",
        )
    if code == errno.EACCES:
        return RunError(
            f"port {number} may not be used",
            why="ports below net.ipv4.ip_unprivileged_port_start need root",
            hint="use a port above 1023",
        )
    return RunError(f"port {number} cannot be used", why=str(error), hint="choose another port")


def _serve(listener: socket.socket, program: int, relays: list[threading.Event]) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            told = threading.Event()
            relays[:] = [other for other in relays if not other.is_set()] + [told]
            _start(_relay, client, program, told)


def _relay(client: socket.socket, program: int, told: threading.Event) -> None:
    """Carry both ways; `told` is set when all that the program says has reached the client."""
    with client:
        try:
            server = socket.create_connection(("localhost", program), timeout=10)
        except OSError:
            told.set()
            return
        with server:
            server.settimeout(None)
            back = _start(_answer, server, client, told)
            _copy(client, server)
            back.join()


def _answer(server: socket.socket, client: socket.socket, told: threading.Event) -> None:
    _copy(server, client)
    told.set()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _shut(listener: socket.socket) -> None:
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)


def _start(target: Callable[..., None], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=arguments, daemon=True)
    thread.start()
    return thread
