# SPDX-License-Identifier: Apache-2.0
"""The sockets of `fault_registry`: HTTP/1.1 with every way to break it.

One thread accepts, one thread serves each connection. `Wire.close` ends them all: every wait in
here watches one event, and every socket is shut down.
"""

from __future__ import annotations

import http.server
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

from registry_state import Answer

if TYPE_CHECKING:
    from fault_registry import Fault, Seen

_PIECE = 64 << 10
_RESET = struct.pack("ii", 1, 0)


class HungUp(ConnectionError):
    """This side ended the connection on purpose."""


class Wire:
    """A listening socket and its threads; `handle` is called for every request."""

    def __init__(
        self,
        handle: Callable[[Connection], None],
        errors: list[BaseException],
        port: int,
        context: ssl.SSLContext | None,
    ) -> None:
        self.handle = handle
        self.stopping = threading.Event()
        self._errors = errors
        self._context = context
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, socket.socket] = {}
        self._count = 0
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="registry", daemon=True)

    def start(self) -> None:
        self._acceptor.start()

    def close(self) -> None:
        self.stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        if self._acceptor.ident is not None:
            self._acceptor.join(10)
        self._listener.close()
        with self._lock:
            left = dict(self._open)
        for connection in left.values():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in left:
            thread.join(10)
            if thread.is_alive():
                self._errors.append(AssertionError("a connection of the test registry hangs"))

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            self._count += 1
            thread = threading.Thread(
                target=self._serve, args=(accepted, self._count), name="registry", daemon=True
            )
            with self._lock:
                self._open[thread] = accepted
            thread.start()

    def _serve(self, accepted: socket.socket, number: int) -> None:
        connection = accepted
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                connection = self._context.wrap_socket(accepted, server_side=True)
                with self._lock:
                    self._open[threading.current_thread()] = connection
            if not self.stopping.is_set():
                Connection(connection, self, number)
        except OSError:
            pass  # the other side left, or a test hung up
        except Exception as error:  # noqa: BLE001 - told when the registry is closed
            self._errors.append(error)
        finally:
            connection.close()
            accepted.close()
            with self._lock:
                self._open.pop(threading.current_thread(), None)


class Connection(http.server.BaseHTTPRequestHandler):
    """One connection, serving its requests one after another."""

    protocol_version = "HTTP/1.1"

    def __init__(self, connection: socket.socket, wire: Wire, number: int) -> None:
        self.number = number
        self._wire = wire
        super().__init__(connection, ("127.0.0.1", 0), wire)  # type: ignore[arg-type]

    def _serve(self) -> None:
        self._wire.handle(self)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def log_message(self, *_: object) -> None:
        """Tests read `requests` instead."""

    def lowered(self) -> dict[str, str]:
        """Headers by lower-case name; repeated ones joined."""
        found: dict[str, str] = {}
        for name, value in self.headers.items():
            key = name.lower()
            found[key] = f"{found[key]}, {value}" if key in found else value
        return found

    # --- receiving ------------------------------------------------------------------------------

    def body(self, seen: Seen, limit: int, *, reset: bool) -> Iterator[bytes]:
        """The request's body as it comes in; hangs up after `limit` bytes (-1: never)."""
        for piece in self._pieces():
            left = len(piece) if limit < 0 else limit - seen.received
            kept = piece[:left]
            seen.received += len(kept)
            if kept:
                yield kept
            if limit >= 0 and seen.received >= limit:
                self.hang_up(reset=reset)

    def _pieces(self) -> Iterator[bytes]:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                yield from self._exactly(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            yield from self._exactly(int(self.headers.get("Content-Length", "0")))

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self.rfile.read1(min(size, _PIECE))
            if not piece:
                raise HungUp("the client left within a body")
            size -= len(piece)
            yield piece

    # --- sending --------------------------------------------------------------------------------

    def pause(self, seconds: float, until: threading.Event | None = None) -> None:
        """Wait, but not longer than the registry lives."""
        if seconds and self._wire.stopping.wait(seconds):
            self.hang_up()
        while until is not None and not until.wait(0.05):
            if self._wire.stopping.is_set():
                self.hang_up()

    def hang_up(self, *, reset: bool = False) -> None:
        """End the connection here and now; never returns."""
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        raise HungUp

    def send(
        self, answer: Answer, headers: Mapping[str, str | None], fault: Fault, seen: Seen
    ) -> None:
        body = _changed(answer.body, fault)
        head: dict[str, str | None] = {}
        bodiless = self.command == "HEAD" or answer.status in (204, 304)
        if fault.endless:
            head["Transfer-Encoding"] = "chunked"
        elif answer.status != 204:
            size = fault.huge or len(body)
            head["Content-Length"] = str(size if fault.content_length < 0 else fault.content_length)
        if fault.close:
            head["Connection"] = "close"
            self.close_connection = True
        head.update(headers)
        first = self._head(answer.status, head)
        if bodiless:
            self.wfile.write(first)
            return
        for piece in _pieces_to_send(body, fault):
            self.wfile.write(first + piece)
            seen.sent += len(piece)
            first = b""
            if fault.trickle is not None:
                self.pause(fault.trickle[1])
            if self._wire.stopping.is_set():
                self.hang_up()
        self.wfile.write(first)
        if fault.cut_after >= 0 or fault.content_length >= 0:
            self.hang_up(reset=fault.reset)

    def _head(self, status: int, headers: Mapping[str, str | None]) -> bytes:
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Odd"
        lines = [f"HTTP/1.1 {status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _changed(body: bytes, fault: Fault) -> bytes:
    if fault.corrupt_at >= 0:
        at = fault.corrupt_at
        body = body[:at] + bytes([body[at] ^ 0xFF]) + body[at + 1 :]
    if fault.truncate >= 0:
        body = body[: fault.truncate]
    return body + fault.append


def _pieces_to_send(body: bytes, fault: Fault) -> Iterator[bytes]:
    if fault.endless:
        while True:
            yield b"%x\r\n%b\r\n" % (_PIECE, b" " * _PIECE)
    size = fault.huge or len(body)
    if fault.cut_after >= 0:
        size = min(size, fault.cut_after)
    step = fault.trickle[0] if fault.trickle else _PIECE
    for start in range(0, size, step):
        end = min(start + step, size)
        yield b" " * (end - start) if fault.huge else body[start:end]
