# SPDX-License-Identifier: Apache-2.0
"""Servers on this machine for tests of HTTP: well-behaved ones, and sockets that do as told."""

import contextlib
import io
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from io import BufferedIOBase
from typing import Any, BinaryIO, NamedTuple

from wherry.events import Event
from wherry.process.cancel import CancelToken
from wherry.transport.http import Transport
from wherry.transport.model import TransportOptions


class Seen(NamedTuple):
    """A request as the server got it; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Reply(NamedTuple):
    """What to answer; Content-Length is added."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class FileBody:
    """A request body that counts how often it is opened, and knows whether all was closed."""

    def __init__(self, data: bytes, size: int | None = None) -> None:
        self.data = data
        self.size = len(data) if size is None else size
        self.opened: list[io.BytesIO] = []

    def open(self, offset: int) -> BinaryIO:
        self.opened.append(io.BytesIO(self.data[offset:]))
        return self.opened[-1]

    @property
    def all_closed(self) -> bool:
        return all(file.closed for file in self.opened)


class Served:
    """A running server."""

    def __init__(self, port: int, scheme: str) -> None:
        self.port = port
        self.scheme = scheme
        self.seen: list[Seen] = []
        self.connections = 0
        self.arrived = threading.Event()

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}"


Conversation = Callable[[socket.socket, BufferedIOBase, Served], None]


@contextlib.contextmanager
def conversing(converse: Conversation, context: ssl.SSLContext | None = None) -> Iterator[Served]:
    """Each connection is handed to `converse` in a thread of its own, and closed afterwards."""
    connections: list[socket.socket] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            sock = self.request
            connections.append(sock)
            served.connections += 1
            sock.settimeout(20)
            with contextlib.suppress(OSError, ValueError):
                if context is not None:
                    sock = context.wrap_socket(sock, server_side=True)
                    connections.append(sock)
                with sock, sock.makefile("rb") as incoming:
                    converse(sock, incoming, served)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = False
        request_queue_size = 50

    with Server(("127.0.0.1", 0), Handler) as server:
        served = Served(server.server_address[1], "https" if context else "http")
        loop = threading.Thread(target=server.serve_forever, args=(0.01,))
        loop.start()
        try:
            yield served
        finally:
            server.shutdown()
            loop.join()
            for sock in connections:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)


def answering(
    answer: Callable[[Seen], Reply], context: ssl.SSLContext | None = None
) -> contextlib.AbstractContextManager[Served]:
    """A server that keeps connections and answers each request."""

    def converse(sock: socket.socket, incoming: BufferedIOBase, served: Served) -> None:
        while (seen := read_request(incoming)) is not None:
            served.seen.append(seen)
            served.arrived.set()
            reply(sock, answer(seen), head_only=seen.method == "HEAD")

    return conversing(converse, context)


def saying(*answers: bytes) -> contextlib.AbstractContextManager[Served]:
    """A server that gives these bytes, one answer a connection, the last one for ever."""

    def converse(sock: socket.socket, incoming: BufferedIOBase, served: Served) -> None:
        number = served.connections - 1
        seen = read_request(incoming)
        if seen is not None:
            served.seen.append(seen)
            sock.sendall(answers[min(number, len(answers) - 1)])

    return conversing(converse)


def read_head(incoming: BufferedIOBase) -> tuple[str, str, dict[str, str]] | None:
    """Method, target and headers of the next request."""
    first = incoming.readline().decode("latin-1").split()
    if not first:
        return None
    headers: dict[str, str] = {}
    while line := incoming.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return first[0], first[1], headers


def read_request(incoming: BufferedIOBase) -> Seen | None:
    """The next request, with its body."""
    head = read_head(incoming)
    if head is None:
        return None
    body = incoming.read(int(head[2].get("content-length", "0")))
    return Seen(*head, body)


def reply(sock: socket.socket, answer: Reply, *, head_only: bool = False) -> None:
    """Send an answer."""
    lines = [f"HTTP/1.1 {answer.status} X", f"Content-Length: {len(answer.body)}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    sock.sendall(head if head_only else head + answer.body)


class Told:
    """What a transport waited and said, instead of waiting and saying it."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.events: list[Event] = []

    @property
    def texts(self) -> list[str]:
        return [event.text for event in self.events if hasattr(event, "text")]


@contextlib.contextmanager
def transport(
    told: Told | None = None, cancel: CancelToken | None = None, **options: Any
) -> Iterator[Transport]:
    """A transport with an empty environment that, with `told`, does not really wait."""
    settings = TransportOptions(**{"env": {}, "connect_timeout": 5, "read_timeout": 10, **options})
    cancel = cancel or CancelToken()
    if told is None:
        made = Transport(settings, cancel)
    else:
        made = Transport(
            settings, cancel, told.events.append, sleep=told.waits.append, random=lambda: 1.0
        )
    with made:
        yield made
