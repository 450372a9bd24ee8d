# SPDX-License-Identifier: Apache-2.0
"""A relay in front of a registry that counts requests and the bytes that come back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

_BLOCK = 1 << 16
_MARK = b" HTTP/1.1\r\n"  # ends the line that begins a request


class Relay:
    """Passes connections on to `target`; for commands that are not timed.

    `host` is its own address. `received` counts all bytes from the registry, HTTP's and TCP's
    payload alike; `requests` counts what clients ask.
    """

    def __init__(self, target: str) -> None:
        name, _, port = target.rpartition(":")
        self._target = (name, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.reset()

    def reset(self) -> None:
        """Begins to count anew."""
        with self._lock:
            self.received = self.requests = 0

    def serve(self) -> None:
        """Takes connections until `close`."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._pass, args=(client,))
                self._threads.append(thread)
                thread.start()

    def close(self) -> None:
        """Ends, once the clients have."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _pass(self, client: socket.socket) -> None:
        with closing(client), socket.create_connection(self._target) as server:
            upward = threading.Thread(target=_copy, args=(client, server, self._asked()))
            upward.start()
            _copy(server, client, self._answered)
            upward.join()

    def _answered(self, data: bytes) -> None:
        with self._lock:
            self.received += len(data)

    def _asked(self) -> Callable[[bytes], None]:
        rest = b""

        def count(data: bytes) -> None:
            nonlocal rest
            seen = rest + data
            rest = seen[-len(_MARK) + 1 :]
            with self._lock:
                self.requests += seen.count(_MARK)

        return count


def _copy(source: socket.socket, sink: socket.socket, tell: Callable[[bytes], None]) -> None:
    with suppress(OSError):
        while data := source.recv(_BLOCK):
            tell(data)
            sink.sendall(data)
    for end, way in ((source, socket.SHUT_RD), (sink, socket.SHUT_WR)):
        with suppress(OSError):
            end.shutdown(way)


@contextmanager
def relay(target: str) -> Iterator[Relay]:
    """A relay to `target` (host:port) for the time of the block."""
    made = Relay(target)
    thread = threading.Thread(target=made.serve)
    thread.start()
    try:
        yield made
    finally:
        made.close()
        thread.join()
