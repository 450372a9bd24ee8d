# SPDX-License-Identifier: Apache-2.0
"""Cancelling wakes whatever waits."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from io import BufferedIOBase

import pytest

from transport_servers import (
    FileBody,
    Reply,
    Seen,
    Served,
    answering,
    conversing,
    read_head,
    read_request,
    transport,
)
from wherry.events import Message
from wherry.process.cancel import Cancelled, CancelToken
from wherry.transport.errors import ConnectionFailed, Failure
from wherry.transport.http import Transport
from wherry.transport.model import Request, TransportOptions

# Far less than any time-out of these tests, and more than a busy machine needs.
_PROMPT = 2.0


def _cancelled_after(
    cancel: CancelToken, blocked: Callable[[], object], ready: Callable[[], object]
) -> None:
    """Run `blocked` in a thread, cancel once `ready` has returned, expect `Cancelled` at once."""
    outcome: list[BaseException] = []

    def run() -> None:
        try:
            blocked()
        except BaseException as error:  # noqa: BLE001 - to be looked at by the test
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    ready()
    time.sleep(0.1)
    assert thread.is_alive(), f"nothing to cancel: {outcome}"
    before = time.monotonic()
    cancel.cancel()
    thread.join(15)
    assert time.monotonic() - before < _PROMPT
    assert [type(error) for error in outcome] == [Cancelled]


def _silent(sock: socket.socket, incoming: BufferedIOBase, served: Served) -> None:
    """Reads heads, answers nothing."""
    served.arrived.set()
    read_head(incoming)
    incoming.read(1)


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port that takes no further connection, and does not refuse it either."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(10):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_before_anything() -> None:
    cancel = CancelToken()
    cancel.cancel()
    with answering(lambda _: Reply()) as served, transport(cancel=cancel) as made:
        with pytest.raises(Cancelled):
            made.send(Request("GET", served.url))
        assert served.connections == 0


def test_in_a_name_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    cancel, asked, done = CancelToken(), threading.Event(), threading.Event()

    def never(*_words: object, **_options: object) -> list[object]:
        asked.set()
        done.wait(15)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", never)
    with transport(cancel=cancel, connect_timeout=10) as made:
        request = Request("GET", "https://registry.invalid/")
        _cancelled_after(cancel, lambda: made.send(request), asked.wait)
    done.set()


def test_in_a_connect(full_port: int) -> None:
    cancel = CancelToken()
    with transport(cancel=cancel, connect_timeout=10) as made:
        request = Request("GET", f"http://127.0.0.1:{full_port}/")
        _cancelled_after(cancel, lambda: made.send(request), lambda: None)


def test_connect_has_a_time_limit(full_port: int) -> None:
    with transport(connect_timeout=0.2) as made, pytest.raises(ConnectionFailed) as caught:
        made.send(Request("GET", f"http://127.0.0.1:{full_port}/", retry=False))
    assert caught.value.failure is Failure.TIMEOUT
    assert caught.value.what == f"cannot reach 127.0.0.1:{full_port}: no connection in 0.2 s"


def test_in_a_tls_handshake() -> None:
    cancel = CancelToken()
    with conversing(_silent) as served, transport(cancel=cancel) as made:
        request = Request("GET", f"https://localhost:{served.port}/")
        _cancelled_after(cancel, lambda: made.send(request), served.arrived.wait)


def test_in_a_proxy_greeting() -> None:
    cancel = CancelToken()
    with conversing(_silent) as served:
        env = {"https_proxy": f"http://localhost:{served.port}"}
        with transport(cancel=cancel, env=env) as made:
            request = Request("GET", "https://registry.invalid/")
            _cancelled_after(cancel, lambda: made.send(request), served.arrived.wait)


def test_before_an_answer() -> None:
    cancel = CancelToken()
    with conversing(_silent) as served, transport(cancel=cancel) as made:
        request = Request("GET", served.url)
        _cancelled_after(cancel, lambda: made.send(request), served.arrived.wait)


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 500\r\n", b"", b"Transfer-Encoding: chunked\r\n"]
)
@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
def test_in_a_body(framing: bytes, close: bytes) -> None:
    cancel, ready = CancelToken(), threading.Event()

    def converse(sock: socket.socket, incoming: BufferedIOBase, _served: Served) -> None:
        read_request(incoming)
        sock.sendall(b"HTTP/1.1 200 OK\r\n" + framing + close + b"\r\n5\r\nhello\r\n")
        ready.set()
        incoming.read(1)

    with (
        conversing(converse) as served,
        transport(cancel=cancel) as made,
        made.send(Request("GET", served.url)) as response,
    ):
        _cancelled_after(cancel, lambda: response.read(1000), ready.wait)
        with pytest.raises(Cancelled):
            response.readinto(bytearray(5))


def test_in_an_upload() -> None:
    cancel = CancelToken()
    done = threading.Event()

    def converse(_sock: socket.socket, incoming: BufferedIOBase, served: Served) -> None:
        read_head(incoming)
        served.arrived.set()
        done.wait(15)

    body = FileBody(b"x" * 60_000_000)
    with conversing(converse) as served, transport(cancel=cancel) as made:
        request = Request("PUT", served.url, body=body)
        _cancelled_after(cancel, lambda: made.send(request), served.arrived.wait)
        done.set()
    assert body.all_closed


def test_in_the_wait_before_a_retry() -> None:
    cancel, told = CancelToken(), threading.Event()

    def sink(event: object) -> None:
        assert isinstance(event, Message)
        told.set()

    reply = Reply(503, (("Retry-After", "60"),))
    with (
        answering(lambda _: reply) as served,
        Transport(TransportOptions({}), cancel, sink) as made,
    ):
        request = Request("GET", served.url)
        _cancelled_after(cancel, lambda: made.send(request), told.wait)


def test_in_the_wait_for_a_connection() -> None:
    cancel = CancelToken()

    def answer(_seen: Seen) -> Reply:
        return Reply(200, (), b"x" * 500_000)

    with (
        answering(answer) as served,
        transport(cancel=cancel, per_host=1) as made,
        made.send(Request("GET", served.url)),
    ):
        request = Request("GET", served.url)
        _cancelled_after(cancel, lambda: made.send(request), lambda: None)


def test_many_threads_at_once() -> None:
    cancel = CancelToken()
    outcome: list[type[BaseException]] = []

    def run() -> None:
        try:
            made.send(Request("GET", served.url))
        except BaseException as error:  # noqa: BLE001 - to be looked at by the test
            outcome.append(type(error))

    with conversing(_silent) as served, transport(cancel=cancel, per_host=3) as made:
        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        served.arrived.wait(10)
        time.sleep(0.1)
        before = time.monotonic()
        cancel.cancel()
        for thread in threads:
            thread.join(15)
    assert time.monotonic() - before < _PROMPT
    assert outcome == [Cancelled] * 8


_INTERRUPTED = """
import signal, sys
from wherry.process.cancel import CancelToken, Cancelled
from wherry.transport.http import Transport
from wherry.transport.model import Request, TransportOptions
cancel = CancelToken()
signal.signal(signal.SIGINT, lambda *_: cancel.cancel())
try:
    with Transport(TransportOptions({}), cancel) as made:
        made.send(Request("GET", sys.argv[1]))
except Cancelled:
    print("cancelled")
"""


def test_from_a_signal_handler() -> None:
    with conversing(_silent) as served:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", _INTERRUPTED, served.url],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert served.arrived.wait(20)
        time.sleep(0.1)
        before = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        output = process.communicate(timeout=20)
    assert output == ("cancelled\n", "")
    assert time.monotonic() - before < _PROMPT
