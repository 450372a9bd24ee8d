# SPDX-License-Identifier: Apache-2.0
"""Messages and descriptors between wherry and the worker; relayed ports."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from wherry.errors import InternalError
from wherry.sandbox.channel import (
    Channel,
    Check,
    Exited,
    Failed,
    Message,
    Ready,
    Signal,
    Start,
    Started,
    Unpack,
    Unpacked,
    decode,
    encode,
)
from wherry.sandbox.ports import published
from wherry.sandbox.request import Port, RunError

MESSAGES: tuple[Message, ...] = (
    Check("/d", ("/usr/bin/runc",), ("/l",), "root", True),
    Ready(False, "", ("runc: no\nwell",)),
    Unpack(("{}",), ("sha256:0",), True, "/p"),
    Unpacked("root:x\n", ""),
    Start("{}", "/usr/bin/runc", False, True),
    Started(True),
    Signal(15),
    Exited(143),
    Failed(127, "what", "why", "hint"),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_messages_come_back_equal(message: Message) -> None:
    assert decode(encode(message).rstrip(b"\n")) == message
    assert encode(message).count(b"\n") == 1


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b'["Nothing"]', b'["Signal"]', b"\xff"])
def test_broken_messages_are_a_fault(line: bytes) -> None:
    with pytest.raises(InternalError):
        decode(line)


def pair() -> tuple[Channel, Channel]:
    first, second = socket.socketpair()
    return Channel(first), Channel(second)


def test_several_messages_in_one_piece() -> None:
    here, there = pair()
    for message in MESSAGES:
        here.send(message)
    assert tuple(there.receive() for _ in MESSAGES) == MESSAGES
    assert not there.has_message
    here.close()
    assert there.receive() is None
    there.close()


def test_long_messages_with_descriptors() -> None:
    here, there = pair()
    message = Start("x" * 1_000_000, "", False, False)
    read, write = os.pipe()
    sender = threading.Thread(target=here.send, args=(message, (write,)))
    sender.start()
    assert there.receive() == message
    sender.join()
    os.close(write)
    with open(there.take_descriptor(), "wb") as file:
        file.write(b"through")
    assert os.read(read, 100) == b"through"
    os.close(read)
    with pytest.raises(InternalError):
        there.take_descriptor()
    here.close()
    there.close()


def test_the_others_end_is_seen_without_waiting() -> None:
    here, there = pair()
    assert not there.is_gone
    here.send(Signal(1))
    assert not there.is_gone
    here.close()
    assert not there.is_gone
    assert there.receive() == Signal(1)
    assert there.is_gone
    there.send(Exited(0))
    there.close()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])


def _echo(server: socket.socket) -> None:
    peer, _ = server.accept()
    with peer:
        while block := peer.recv(65536):
            peer.sendall(block)


def test_relay_carries_both_ways_to_the_end() -> None:
    outer, inner = free_port(), free_port()
    data = os.urandom(1 << 20)
    with (
        published((Port(outer, inner, "127.0.0.1"),)),
        socket.create_server(("127.0.0.1", inner)) as server,
    ):
        echo = threading.Thread(target=_echo, args=(server,))
        echo.start()
        with socket.create_connection(("127.0.0.1", outer)) as client:
            sender = threading.Thread(
                target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR))
            )
            sender.start()
            got = b"".join(iter(lambda: client.recv(65536), b""))
            sender.join()
        echo.join()
    assert got == data
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", outer))


def test_ports_in_use_are_refused() -> None:
    with socket.create_server(("", 0)) as server:
        taken = server.getsockname()[1]
        for port in (Port(taken, taken), Port(taken, free_port()), Port(free_port(), taken)):
            with (
                pytest.raises(RunError, match=f"port {taken} is already in use"),
                published((port,)),
            ):
                pass


def test_udp_ports_are_checked() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("", 0))
        taken = server.getsockname()[1]
        with pytest.raises(RunError), published((Port(taken, taken, "", "udp"),)):
            pass
        free = free_port()
        with published((Port(free, free, "", "udp"),)):
            pass
