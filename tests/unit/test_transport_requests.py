# SPDX-License-Identifier: Apache-2.0
"""Single requests: what is sent, what is refused, how answers and their bodies come back."""

import socket
import threading
import time
from io import BufferedIOBase
from typing import BinaryIO

import pytest

from transport_servers import (
    FileBody,
    Reply,
    Seen,
    Served,
    Told,
    answering,
    conversing,
    read_head,
    read_request,
    reply,
    saying,
    transport,
)
from wherry.errors import MachineError, UsageError
from wherry.process.cancel import CancelToken
from wherry.transport.errors import BodyCut, BodyTooLarge, ConnectionFailed, Failure
from wherry.transport.http import Response, Transport
from wherry.transport.model import Request, TransportOptions


def _get(made: Transport, url: str, limit: int = 1000) -> tuple[int, bytes]:
    with made.send(Request("GET", url)) as response:
        return response.status, response.read(limit)


def _all(response: Response, size: int = 7) -> bytes:
    block, taken = bytearray(size), b""
    while count := response.readinto(block):
        taken += block[:count]
    return taken


def test_answer_has_status_headers_and_body() -> None:
    headers = (("X-One", "a"), ("x-one", "b"), ("Docker-Content-Digest", "sha256:1"))
    with (
        answering(lambda _: Reply(404, headers, b"no such thing")) as served,
        transport() as made,
        made.send(Request("GET", served.url + "/v2/?n=1")) as response,
    ):
        assert response.status == 404
        assert response.headers["x-One"] == "a, b"
        assert response.headers.get("docker-content-digest") == "sha256:1"
        assert response.headers.get("absent") is None
        assert {"X-One", "Docker-Content-Digest", "Content-Length"} <= set(response.headers)
        assert response.url == served.url + "/v2/?n=1"
        assert response.read(13) == b"no such thing"
        assert response.readinto(bytearray(5)) == 0
    assert served.seen[0].target == "/v2/?n=1"


def test_sends_agent_and_refuses_compression() -> None:
    headers = (("Accept", "a/b"), ("accept", "c/d"), ("Accept-Encoding", "gzip"), ("Host", "evil"))
    with answering(lambda _: Reply()) as served, transport(user_agent="wherry/9") as made:
        made.send(Request("GET", served.url, headers)).close()
    sent = served.seen[0].headers
    assert sent["user-agent"] == "wherry/9"
    assert sent["accept-encoding"] == "identity"
    assert sent["host"] == f"localhost:{served.port}"
    assert sent["accept"] in ("a/b, c/d", "c/d")  # two lines, of which the server keeps the last


def test_body_of_bytes_and_of_a_file() -> None:
    big = bytes(range(256)) * 4000
    body = FileBody(big)
    with (
        answering(lambda seen: Reply(201, (), b"%d" % len(seen.body))) as served,
        transport() as made,
    ):
        with made.send(Request("PUT", served.url, body=big)) as response:
            assert response.read(10) == b"1024000"
        with made.send(Request("PATCH", served.url, body=body)) as response:
            assert response.read(10) == b"1024000"
        made.send(Request("PUT", served.url, body=b"")).close()
        made.send(Request("POST", served.url)).close()
    assert [seen.body for seen in served.seen] == [big, big, b"", b""]
    assert [seen.headers["content-length"] for seen in served.seen[2:]] == ["0", "0"]
    assert len(body.opened) == 1
    assert body.all_closed


def test_connection_serves_again_after_reading_closing_and_head() -> None:
    with answering(lambda _: Reply(200, (), b"x" * 3000)) as served, transport() as made:
        assert _get(made, served.url, 5000)[1] == b"x" * 3000
        made.send(Request("GET", served.url)).close()
        with made.send(Request("HEAD", served.url)) as response:
            assert response.headers["content-length"] == "3000"
            assert response.read(10) == b""
        with made.send(Request("GET", served.url)) as response:
            assert response.readinto(bytearray(10)) == 10
        assert _get(made, served.url, 5000)[1] == b"x" * 3000
        assert served.connections == 1


def test_long_rest_of_a_body_is_not_read_for_nothing() -> None:
    with answering(lambda _: Reply(200, (), b"x" * 500_000)) as served, transport() as made:
        made.send(Request("GET", served.url)).close()
        made.send(Request("GET", served.url)).close()
        assert served.connections == 2


def test_server_that_closes_between_requests_is_not_noticed() -> None:
    def converse(sock: socket.socket, incoming: BufferedIOBase, _served: Served) -> None:
        read_request(incoming)
        reply(sock, Reply(200, (), b"ok"))

    told = Told()
    with conversing(converse) as served, transport(told) as made:
        for _ in range(3):
            assert _get(made, served.url) == (200, b"ok")
            time.sleep(0.02)
    assert served.connections == 3


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (b"Content-Length: 5\r\n\r\nhello", b"hello"),
        (b"Content-Length: 5\r\nContent-Length: 5 \r\n\r\nhello", b"hello"),
        (b"Connection: close\r\n\r\nto the end", b"to the end"),
        (
            b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nT: 1\r\n\r\n",
            b"hello",
        ),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
        (b"Content-Length: 0\r\n\r\n", b""),
    ],
)
def test_bodies_by_length_end_and_chunks(sent: bytes, body: bytes) -> None:
    with saying(b"HTTP/1.1 200 OK\r\n" + sent) as served, transport() as made:
        with made.send(Request("GET", served.url)) as response:
            assert _all(response) == body
        with made.send(Request("GET", served.url)) as response:
            assert response.read(len(body)) == body


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: 50\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n9\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n-1\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + b"f" * 9000,
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n" + b"a: b\r\n" * 200,
    ],
)
def test_cut_and_malformed_bodies(sent: bytes) -> None:
    with saying(b"HTTP/1.1 200 OK\r\n" + sent) as served, transport() as made:
        response = made.send(Request("GET", served.url + "/?token=secret"))
        with pytest.raises(BodyCut) as caught:
            _all(response)
        assert f"localhost:{served.port}" in str(caught.value)
        assert "secret" not in str(caught.value)
        response.close()
        with pytest.raises(BodyCut), made.send(Request("GET", served.url)) as response:
            response.read(1000)


def test_reset_inside_a_body_is_a_cut() -> None:
    def converse(sock: socket.socket, incoming: BufferedIOBase, _served: Served) -> None:
        read_request(incoming)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello")
        time.sleep(0.1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()

    with conversing(converse) as served, transport() as made:
        response = made.send(Request("GET", served.url))
        assert response.readinto(bytearray(100)) == 5
        with pytest.raises(BodyCut, match="after 5 of 50 bytes"):
            response.readinto(bytearray(100))


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: 11\r\n\r\nhello world",
        b"\r\nhello world",
        b"Transfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n",
    ],
)
def test_bodies_over_the_limit(sent: bytes) -> None:
    with saying(b"HTTP/1.1 200 OK\r\n" + sent) as served, transport() as made:
        assert _get(made, served.url, 11)[1] == b"hello world"
        with pytest.raises(BodyTooLarge, match="more than the 10 bytes"):
            _get(made, served.url, 10)


def test_endless_body_ends_at_the_limit() -> None:
    def converse(sock: socket.socket, incoming: BufferedIOBase, _served: Served) -> None:
        read_request(incoming)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sock.sendall(b"x" * 100_000)

    with conversing(converse) as served, transport() as made, pytest.raises(BodyTooLarge):
        _get(made, served.url, 4 << 20)


_OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/3.0 200 OK\r\n\r\n",
        b"\0\1\2\3\r\n\r\n",
        _OK + b"no colon here\r\nContent-Length: 0\r\n\r\n",
        _OK + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
        _OK + b"X: y\r\n" * 200 + b"\r\n",
        _OK + b"Content-Length: -5\r\n\r\n",
        _OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        _OK + b"Content-Length: 5, 6\r\n\r\nhello!",
        _OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        _OK + b"Content-Length: 0x10\r\n\r\n",
        _OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        _OK + b"Transfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50_000,
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 50_000,
        b"h" * 100_000,
    ],
)
def test_hostile_heads(sent: bytes) -> None:
    told = Told()
    with (
        saying(sent) as served,
        transport(told) as made,
        pytest.raises(ConnectionFailed) as caught,
    ):
        made.send(Request("GET", served.url + "/?token=secret"))
    assert caught.value.failure is Failure.PROTOCOL
    assert f"localhost:{served.port}" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert told.waits == []


def test_informational_answers_are_passed_over() -> None:
    sent = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    with saying(sent + _OK + b"Content-Length: 2\r\n\r\nok") as served, transport() as made:
        assert _get(made, served.url) == (200, b"ok")


@pytest.mark.parametrize(
    "header",
    [
        ("Authorization", "Bearer secret\r\nX: y"),
        ("Authorization", "secret\n"),
        ("Authorization", "secret\0"),
        ("Authorization", "secret\N{EURO SIGN}"),
        ("X Y", "secret"),
        ("X:", "secret"),
        ("", "secret"),
    ],
)
def test_headers_that_cannot_be_sent(header: tuple[str, str]) -> None:
    with answering(lambda _: Reply()) as served, transport() as made:
        with pytest.raises(UsageError) as caught:
            made.send(Request("GET", served.url, (header,)))
        assert "secret" not in str(caught.value)
    assert served.seen == []


@pytest.mark.parametrize(
    "url",
    [
        "https://user:secret@registry.invalid/",
        "https://secret@registry.invalid/",
        "ftp://registry.invalid/secret",
        "registry.invalid/secret",
        "https:///secret",
        "https://registry.invalid:99999/secret",
        "https://registry.invalid:0/secret",
        "https://registry invalid/secret",
        "https://registry.invalid/secret\r\nX: y",
        "https://r\N{LATIN SMALL LETTER E WITH ACUTE}gistry.invalid/secret",
        "https://[::1/secret",
        "https://[fe80::1%25eth0]/secret",
        "https://re/gistry@invalid:x/secret",
        "https://%72egistry/secret",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    with (
        transport(connect_timeout=0.1, retries=0) as made,
        pytest.raises(ConnectionFailed) as caught,
    ):
        made.send(Request("GET", url))
    assert "secret" not in str(caught.value)
    if "re/gistry" not in url:
        assert caught.value.failure is Failure.PROTOCOL


def test_answer_that_comes_before_the_body_was_read() -> None:
    def converse(sock: socket.socket, incoming: BufferedIOBase, _served: Served) -> None:
        read_head(incoming)
        sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nlong")
        incoming.read(100_000)

    body = FileBody(b"x" * 30_000_000)
    with conversing(converse) as served, transport() as made:
        with made.send(Request("PUT", served.url, body=body)) as response:
            assert response.status == 413
            assert response.read(100) == b"long"
        with made.send(Request("PUT", served.url, body=body)) as response:
            assert response.status == 413
    assert served.connections == 2
    assert body.all_closed


def test_answer_while_the_server_reads_nothing_more() -> None:
    done = threading.Event()

    def converse(sock: socket.socket, incoming: BufferedIOBase, _served: Served) -> None:
        read_head(incoming)
        sock.sendall(b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n")
        done.wait(10)

    # Larger than the buffers of two sockets.
    body = FileBody(b"x" * 60_000_000)
    with conversing(converse) as served, transport() as made:
        with made.send(Request("PUT", served.url, body=body, retry=False)) as response:
            assert response.status == 401
        done.set()
    assert body.all_closed


def test_informational_answer_does_not_end_an_upload() -> None:
    def converse(sock: socket.socket, incoming: BufferedIOBase, served: Served) -> None:
        head = read_head(incoming)
        assert head is not None
        sock.sendall(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n")
        time.sleep(0.05)
        served.seen.append(Seen(*head, incoming.read(int(head[2]["content-length"]))))
        reply(sock, Reply(201))

    with conversing(converse) as served, transport() as made:
        body = FileBody(b"x" * 30_000_000)
        with made.send(Request("PUT", served.url, body=body)) as response:
            assert response.status == 201
        assert len(served.seen[0].body) == 30_000_000


def test_body_that_is_shorter_than_it_says() -> None:
    told = Told()
    with answering(lambda _: Reply()) as served, transport(told) as made:
        body = FileBody(b"abc", size=10)
        with pytest.raises(MachineError, match="3 bytes instead of 10"):
            made.send(Request("PUT", served.url, body=body))
        assert body.all_closed
    assert told.waits == []


def test_body_that_is_longer_than_it_says() -> None:
    with answering(lambda _: Reply()) as served, transport() as made:
        made.send(Request("PUT", served.url, body=FileBody(b"abcdef", size=4))).close()
        assert _get(made, served.url)[0] == 200
    assert served.seen[0].body == b"abcd"


def test_body_that_cannot_be_read() -> None:
    class Broken:
        size = 5

        def open(self, _offset: int) -> BinaryIO:
            raise OSError(5, "Input/output error")

    told = Told()
    with (
        answering(lambda _: Reply()) as served,
        transport(told) as made,
        pytest.raises(MachineError, match="Input/output error"),
    ):
        made.send(Request("PUT", served.url, body=Broken()))
    assert told.waits == []


def test_no_more_connections_than_allowed() -> None:
    lock, count, most = threading.Lock(), 0, 0

    def answer(_seen: Seen) -> Reply:
        nonlocal count, most
        with lock:
            count += 1
            most = max(most, count)
        time.sleep(0.02)
        with lock:
            count -= 1
        return Reply(200, (), b"ok")

    with answering(answer) as served, transport(per_host=2) as made:
        threads = [threading.Thread(target=_get, args=(made, served.url)) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(served.seen) == 10
        assert served.connections <= 2
    assert most == 2


def test_thread_that_reads_may_send_to_the_same_host() -> None:
    with (
        answering(lambda _: Reply(200, (), b"x" * 200_000)) as served,
        transport(per_host=1) as made,
        made.send(Request("GET", served.url)) as response,
    ):
        assert response.readinto(bytearray(10)) == 10
        assert _get(made, served.url, 300_000)[0] == 200
        assert len(response.read(300_000)) == 199_990


def test_slow_trickle_is_given_up() -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 5.0  # each receive seems to take five seconds
        return now

    def converse(sock: socket.socket, incoming: BufferedIOBase, _served: Served) -> None:
        read_request(incoming)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        while True:
            sock.sendall(b"x")
            time.sleep(0.01)

    with (
        conversing(converse) as served,
        Transport(TransportOptions({}), CancelToken(), clock=clock) as made,
        made.send(Request("GET", served.url)) as response,
        pytest.raises(ConnectionFailed, match="stopped sending") as caught,
    ):
        _all(response)
    assert caught.value.failure is Failure.TIMEOUT


def test_silence_is_a_timeout() -> None:
    def converse(sock: socket.socket, incoming: BufferedIOBase, _served: Served) -> None:
        seen = read_request(incoming)
        if seen is not None and seen.target == "/body":
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
        incoming.read(1)

    with conversing(converse) as served, transport(read_timeout=0.2) as made:
        with pytest.raises(ConnectionFailed, match=r"did not answer in 0[.]2 s") as caught:
            made.send(Request("GET", served.url, retry=False))
        assert caught.value.failure is Failure.TIMEOUT
        with (
            made.send(Request("GET", served.url + "/body")) as response,
            pytest.raises(ConnectionFailed) as caught,
        ):
            _all(response)
        assert caught.value.failure is Failure.TIMEOUT


def test_slow_consumer_is_no_slow_peer() -> None:
    with (
        answering(lambda _: Reply(200, (), b"x" * 300)) as served,
        transport(read_timeout=0.2) as made,
        made.send(Request("GET", served.url)) as response,
    ):
        assert response.readinto(bytearray(100)) == 100
        time.sleep(0.4)
        assert len(response.read(1000)) == 200


def test_plain_http_stays_on_this_machine() -> None:
    with transport(connect_timeout=0.2) as made:
        for host in ("registry.invalid", "10.0.0.1", "127.0.0.1.registry.invalid", "127.1"):
            with pytest.raises(ConnectionFailed, match="not encrypted") as caught:
                made.send(Request("GET", f"http://{host}:5000/"))
            assert caught.value.failure is Failure.PROTOCOL
            assert f'"{host}:5000" to `[registry] insecure`' in caught.value.hint
    with answering(lambda _: Reply()) as served, transport() as made:
        for host in ("localhost", "LOCALHOST", "registry.localhost", "127.0.0.1", "localhost."):
            assert _get(made, f"http://{host}:{served.port}/")[0] == 200


def test_name_that_is_not_known_and_port_that_is_closed() -> None:
    told = Told()
    with transport(told) as made:
        with pytest.raises(ConnectionFailed, match=r"cannot find registry[.]invalid") as caught:
            made.send(Request("GET", "https://registry.invalid/?token=secret"))
        assert caught.value.failure is Failure.NAME
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        told.waits.clear()
        with pytest.raises(ConnectionFailed, match="connection refused") as caught:
            made.send(Request("GET", f"http://127.0.0.1:{port}/?token=secret"))
    assert caught.value.failure is Failure.REFUSED
    assert "secret" not in str(caught.value) + "".join(told.texts)
    assert len(told.waits) == 2


def test_nothing_is_shown_of_a_response_but_who_and_status() -> None:
    with (
        answering(lambda _: Reply()) as served,
        transport() as made,
        made.send(Request("GET", served.url + "/?signature=secret")) as response,
    ):
        assert repr(response) == f"<Response 200 of localhost:{served.port}>"
