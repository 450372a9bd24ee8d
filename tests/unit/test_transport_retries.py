# SPDX-License-Identifier: Apache-2.0
"""When requests are repeated, after how long, and what is said about it."""

import socket
from email.utils import formatdate
from io import BufferedIOBase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport_servers import (
    FileBody,
    Reply,
    Seen,
    Served,
    Told,
    answering,
    conversing,
    read_request,
    reply,
    transport,
)
from wherry.transport.errors import ConnectionFailed, Failure
from wherry.transport.model import Request
from wherry.transport.retrying import Patience, parse_retry_after


class Once:
    """Gives one answer after the other, the last one for ever."""

    def __init__(self, *replies: Reply) -> None:
        self._replies = list(replies)

    def __call__(self, _seen: Seen) -> Reply:
        return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_answers_that_are_tried_again(status: int) -> None:
    told = Told()
    answers = Once(Reply(status, (), b"busy"), Reply(status), Reply(200, (), b"ok"))
    with answering(answers) as served, transport(told) as made:
        with made.send(Request("GET", served.url)) as response:
            assert (response.status, response.read(2)) == (200, b"ok")
        assert served.connections == 1
    assert told.waits == [0.5, 1.0]
    assert told.texts[0].startswith(f"localhost:{served.port} answers {status} (")
    assert told.texts[0].endswith("; trying again in 1 s")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 416, 501, 505])
def test_answers_that_are_not(status: int) -> None:
    told = Told()
    with answering(lambda _: Reply(status)) as served, transport(told) as made:
        made.send(Request("GET", served.url)).close()
        assert len(served.seen) == 1
    assert told.waits == []


def test_gives_the_answer_after_all_tries() -> None:
    told = Told()
    with answering(lambda _: Reply(503, (), b"down")) as served, transport(told) as made:
        with made.send(Request("GET", served.url)) as response:
            assert (response.status, response.read(10)) == (503, b"down")
        assert len(served.seen) == 6
    assert told.waits == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_request_that_must_not_be_repeated() -> None:
    told = Told()
    with answering(lambda _: Reply(503)) as served, transport(told) as made:
        with made.send(Request("POST", served.url, retry=False)) as response:
            assert response.status == 503
        assert len(served.seen) == 1
    assert told.waits == []


def test_retry_after_in_seconds_is_kept() -> None:
    told = Told()
    answers = Once(Reply(429, (("Retry-After", "12"),)), Reply(200))
    with answering(answers) as served, transport(told) as made:
        made.send(Request("GET", served.url)).close()
    assert told.waits == [12.0]
    assert told.texts == [
        f"localhost:{served.port} answers 429 (too many requests); trying again in 12 s"
    ]


def test_long_retry_after_is_for_the_caller() -> None:
    told = Told()
    with (
        answering(lambda _: Reply(429, (("Retry-After", "121"),))) as served,
        transport(told) as made,
        made.send(Request("GET", served.url)) as response,
    ):
        assert response.status == 429
    assert told.waits == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 7 ", 7.0),
        ("9" * 400, 999999999999.0),
        (formatdate(1030.0, usegmt=True), 30.0),
        ("Thu, 01 Jan 1970 00:17:10 -0000", 30.0),
        (formatdate(900.0, usegmt=True), 0.0),
        ("", None),
        ("-1", None),
        ("soon", None),
        ("1.5", None),
        ("\N{SUPERSCRIPT TWO}", None),
        ("Thu, 99 Jan 1970 00:17:10 GMT", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert parse_retry_after(value, lambda: 1000.0) == seconds


@given(st.text(max_size=60))
def test_retry_after_of_any_text(value: str) -> None:
    seconds = parse_retry_after(value, lambda: 1000.0)
    assert seconds is None or seconds >= 0


def test_all_waits_together_are_bounded() -> None:
    now = 0.0
    patience = Patience(1000, lambda: now, lambda: 1.0)
    while (wait := patience.after_answer(503, "100")) is not None:
        now += wait
    assert now == 300.0
    assert patience.after_failure(1000) is None


def test_answers_do_not_use_up_the_repeats_after_failures() -> None:
    patience = Patience(5, lambda: 0.0, lambda: 1.0)
    waits = [patience.after_answer(503, "") for _ in range(3)]
    waits += [patience.after_failure(2) for _ in range(3)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, None]


def test_waits_grow_to_twenty_seconds_with_jitter() -> None:
    for random, share in ((0.0, 0.5), (1.0, 1.0)):
        patience = Patience(8, lambda: 0.0, lambda random=random: random)
        waits = [patience.after_answer(500, "") for _ in range(9)]
        assert waits[:8] == [share * wait for wait in (0.5, 1, 2, 4, 8, 16, 20, 20)]
        assert waits[8] is None


def test_body_is_sent_whole_again() -> None:
    body = FileBody(b"x" * 700_000)
    told = Told()
    answers = Once(Reply(502), Reply(503), Reply(201))
    with answering(answers) as served, transport(told) as made:
        made.send(Request("PUT", served.url, body=body)).close()
    assert [len(seen.body) for seen in served.seen] == [700_000] * 3
    assert len(body.opened) == 3
    assert body.all_closed


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_reset_before_the_answer_is_tried_again(method: str) -> None:
    def converse(sock: socket.socket, incoming: BufferedIOBase, served: Served) -> None:
        if served.connections < 3:
            return
        read_request(incoming)
        reply(sock, Reply(200, (), b"ok"))

    told = Told()
    body = FileBody(b"x" * 400_000) if method == "PUT" else None
    with (
        conversing(converse) as served,
        transport(told) as made,
        made.send(Request(method, served.url, body=body)) as response,
    ):
        assert response.read(10) == b"ok"
    assert told.waits == [0.5, 1.0]
    assert told.texts[0].endswith("closed the connection unanswered; trying again in 1 s")


def test_reset_for_ever_is_an_error() -> None:
    def converse(_sock: socket.socket, _incoming: BufferedIOBase, _served: Served) -> None:
        return

    told = Told()
    with (
        conversing(converse) as served,
        transport(told, retries=3) as made,
        pytest.raises(ConnectionFailed) as caught,
    ):
        made.send(Request("GET", served.url + "/?token=secret"))
    assert caught.value.failure is Failure.RESET
    assert "secret" not in str(caught.value) + "".join(told.texts)
    assert len(told.waits) == 3
    assert caught.value.__suppress_context__


def test_kept_connection_that_was_closed_costs_no_wait() -> None:
    def converse(sock: socket.socket, incoming: BufferedIOBase, served: Served) -> None:
        read_request(incoming)
        reply(sock, Reply(200, (), b"ok"))
        if read_request(incoming) is not None:
            served.arrived.set()  # and hang up unanswered

    told = Told()
    with conversing(converse) as served, transport(told) as made:
        made.send(Request("GET", served.url)).close()
        with made.send(Request("GET", served.url)) as response:
            assert response.read(10) == b"ok"
        assert served.arrived.is_set()
        assert served.connections == 2
        with pytest.raises(ConnectionFailed) as caught:
            made.send(Request("POST", served.url, retry=False))
    assert caught.value.failure is Failure.RESET
    assert told.waits == []
