# SPDX-License-Identifier: Apache-2.0
"""Messages between the main process and the namespace worker."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from wherry.sandbox.exchange import Exchange, Message, Place, Scanned
from wherry.sandbox.mapping import Mapping

Pair = tuple[Exchange, Exchange]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, two = (Exchange(end) for end in socket.socketpair())
    yield one, two
    one.close()
    two.close()


def pipe_with(text: bytes) -> int:
    reading, writing = os.pipe()
    os.write(writing, text)
    os.close(writing)
    return reading


def read(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        return file.read()


def test_messages_arrive_with_their_descriptors(pair: Pair) -> None:
    for number in range(3):
        descriptor = pipe_with(b"%d" % number)
        pair[0].send(Message(number, "open", {"path": f"p\udcff{number}"}, (descriptor,)))
        os.close(descriptor)
        pair[0].send(Message(number + 10, "plain", {}))
    for number in range(3):
        message = pair[1].receive()
        assert message is not None
        assert (message.number, message.fields) == (number, {"path": f"p\udcff{number}"})
        assert not os.get_inheritable(message.descriptors[0])
        assert read(message.descriptors[0]) == b"%d" % number
        plain = pair[1].receive()
        assert plain is not None
        assert (plain.number, plain.descriptors) == (number + 10, ())


def test_long_messages_of_many_threads_do_not_mix(pair: Pair) -> None:
    texts = [chr(ord("a") + number) * 400_000 for number in range(6)]
    threads = [
        threading.Thread(target=pair[0].send, args=(Message(number, "x", {"text": text}),))
        for number, text in enumerate(texts)
    ]
    for thread in threads:
        thread.start()
    found = {}
    for _ in threads:
        message = pair[1].receive()
        assert message is not None
        found[message.number] = message.fields["text"]
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(6)] == texts


def test_the_other_ends_going_ends_the_conversation(pair: Pair) -> None:
    pair[0].shut()
    assert pair[1].receive() is None
    # Sending to nobody is no error: whoever waits for the answer hears of the end.
    pair[1].send(Message(1, "x", {}))


def test_nothing_is_shown_of_what_may_be_secret() -> None:
    assert "hunter2" not in repr(Message(1, "execute", {"step": "hunter2"}))


def test_rows_survive_the_way() -> None:
    row = Scanned(
        "a\udcff/ü", "file", 0o4755, 1, 2, 3, 4, 5, "t", (("user.x", b"\0\xff"),), 6, 7, True
    )
    line = row.as_line()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert Scanned.parse(line) == row


def test_places_of_other_ids_have_other_names() -> None:
    places = [
        Place("overlay", Mapping.ROOT),
        Place("overlay", Mapping.ROOT, "100000", "100000"),
        Place("overlay", Mapping.RANGES, "100000", "100000"),
        Place("overlay", Mapping.RANGES, "165536", "165536"),
        Place("overlay", Mapping.RANGES, "100000+4096", "100000+4096"),
        Place("overlay", Mapping.RANGES, "100000", "165536"),
        Place("overlay", Mapping.ONE, "1000", "1000"),
        Place("whole", Mapping.ONE, "1000", "1000"),
    ]
    assert len({place.name for place in places}) == len(places)
    assert places[2].name == "overlay-ranges-100000"
    assert places[0].name == "overlay-root"
