# SPDX-License-Identifier: Apache-2.0
"""Answers and URLs of any bytes: read, or refused in the ways that callers expect."""

import http.client
import io

from hypothesis import example, given
from hypothesis import strategies as st

from wherry.transport.errors import ConnectionFailed, Failure
from wherry.transport.framing import Answer, Pace
from wherry.transport.model import Request, TransportOptions
from wherry.transport.origins import parse_origin
from wherry.transport.redirects import Route

_PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 404 \r\n", b"HTTP/1.1 100 C\r\n", b"HTTP/1.1 103 E\r\n",
        b"HTTP/1.1 204 N\r\n", b"Content-Length: 5\r\n", b"Content-Length:\r\n",
        b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: x\r\n", b"X: y\r\n", b" folded\r\n",
        b"\r\n", b"\n", b"\r", b":", b"5\r\n", b"0\r\n", b"a;x=y\r\n", b"hello", b"\0\xff",
    ]
)  # fmt: skip


class _Bytes:
    """Looks like a socket that these bytes come from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str, _buffering: int) -> io.BytesIO:
        return io.BytesIO(self._data)


def _read(data: bytes, method: str = "GET") -> tuple[int, bytes]:
    answer = Answer(_Bytes(data), Pace(), method)  # type: ignore[arg-type]
    try:
        answer.begin()
        taken, block = b"", bytearray(3)
        while count := answer.receive(memoryview(block)):
            taken += block[:count]
        return answer.status, taken
    finally:
        answer.close()


@given(st.lists(_PIECES, max_size=12).map(b"".join))
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
def test_any_answer_is_read_or_refused(data: bytes) -> None:
    try:
        status, body = _read(data)
    except (http.client.HTTPException, ConnectionError):
        return
    assert data.lstrip().startswith(b"HTTP/1.")
    assert 100 <= status <= 999
    assert len(body) <= len(data)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.binary(max_size=30))
def test_chunks_are_put_together(chunks: list[bytes], after: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    coded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    assert _read(head + coded + b"0\r\n\r\n" + after) == (200, b"".join(chunks))


@given(st.binary(max_size=60), st.binary(max_size=30))
def test_length_ends_the_body(body: bytes, after: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert _read(head + body + after) == (200, body)
    assert _read(head + body + after, "HEAD") == (200, b"")


@given(
    st.text(max_size=50) | st.text(alphabet=":/@[]%.#?hts1a\\", max_size=30).map("https:".__add__)
)
@example("https://[::1]:5000/")
@example("https://a@b/")
def test_any_url_has_an_origin_or_is_refused(url: str) -> None:
    try:
        origin = parse_origin(url)
    except ConnectionFailed as error:
        assert error.failure is Failure.PROTOCOL
    else:
        assert parse_origin(f"{origin.scheme}://{origin.name}/") == origin
        assert "@" not in origin.name


@given(st.binary(min_size=1, max_size=60).map(lambda data: data.decode("latin-1")))
@example("//[")
@example("http://[::1")
def test_any_location_is_followed_or_refused(location: str) -> None:
    request = Request("GET", "https://registry.invalid/a/b", (("Authorization", "secret"),))
    try:
        following = Route(request, TransportOptions({})).following(request, 302, location)
    except ConnectionFailed as error:
        assert error.failure is Failure.PROTOCOL
        return
    if following is not None:
        origin = parse_origin(following.url)
        assert origin.scheme == "https"
        assert bool(following.headers) == (origin == parse_origin(request.url))
