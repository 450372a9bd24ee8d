# SPDX-License-Identifier: Apache-2.0
"""What lies between a build and its servers: nothing but loopback, or a distance.

A distance is made by `tc netem` on the loopback device of a network namespace of its own, in which
servers and builds run alike. Where the kernel has no netem, relays in front of the servers hold
back all bytes; they have no slow start of TCP, which is told with the figures.
"""

from __future__ import annotations

import ctypes
import os
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from bench.failure import BenchError, read_output
from bench.running import say

ROUND_TRIP = 0.020  # seconds
RATE = 200_000_000  # bits in a second, each way

_CLONE_NEWNET = 0x40000000
_BLOCK = 1 << 15
_BLOCKS = 256  # of a connection on their way
_AHEAD = 0.05  # seconds of sending that may wait for their turn


class Link(Protocol):
    """How servers are reached from a build, always at 127.0.0.1."""

    @property
    def name(self) -> str:
        """For the table."""

    def front(self, port: int) -> AbstractContextManager[int]:
        """Gives the port at which a server has to listen so that it is met at `port`."""


@dataclass(frozen=True)
class Straight:
    """Servers are met where they listen: on loopback, whatever that is like."""

    name: str = "loopback"

    @contextmanager
    def front(self, port: int) -> Iterator[int]:
        yield port


@contextmanager
def distant() -> Iterator[Link]:
    """A link with a latency and a rate, for servers and builds that are started in the block.

    To be used in the main thread: what it starts is in the namespace, other threads are not.
    """
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            _shape()
            link: Link = Straight("tc netem on loopback in a network namespace")
        except BenchError as error:
            say(f"bench: a relay stands in for tc netem: {error}")
            _enter(own)
            link = Delaying()
        yield link
    finally:
        _enter(own)
        os.close(own)


def _shape() -> None:
    """Goes into a new network namespace with a loopback device that is slow."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        raise BenchError(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    each_way = f"{ROUND_TRIP / 2 * 1000:g}ms"
    netem = ("netem", "delay", each_way, "rate", f"{RATE // 1_000_000}mbit", "limit", "10000")
    place, env = Path("/"), dict(os.environ)
    read_output(("ip", "link", "set", "lo", "up"), place, env)
    read_output(("tc", "qdisc", "add", "dev", "lo", "root", *netem), place, env)


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise BenchError(f"the network namespace was lost: {os.strerror(ctypes.get_errno())}")


# --- without netem -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Delaying:
    """Relays that pass on all bytes late and not too fast; one rate for all connections."""

    name: str = "relays with the latency and rate (this kernel has no netem)"
    _up: _Pace = field(default_factory=lambda: _Pace())
    _down: _Pace = field(default_factory=lambda: _Pace())

    @contextmanager
    def front(self, port: int) -> Iterator[int]:
        hidden = free_port()
        with socket.create_server(("127.0.0.1", port)) as listener:
            thread = threading.Thread(target=self._serve, args=(listener, hidden))
            thread.start()
            try:
                yield hidden
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()

    def _serve(self, listener: socket.socket, hidden: int) -> None:
        threads: list[threading.Thread] = []
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threads.append(threading.Thread(target=self._pass, args=(client, hidden)))
                threads[-1].start()
        for thread in threads:
            thread.join()

    def _pass(self, client: socket.socket, hidden: int) -> None:
        time.sleep(ROUND_TRIP)  # of TCP's handshake
        with closing(client), socket.create_connection(("127.0.0.1", hidden)) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            upward = threading.Thread(target=_carry, args=(client, server, self._up))
            upward.start()
            _carry(server, client, self._down)
            upward.join()


class _Pace:
    """When bytes that are here now have left: one after the other, at the rate."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free = 0.0

    def leave(self, size: int) -> float:
        with self._lock:
            self._free = max(time.monotonic(), self._free) + size * 8 / RATE
            return self._free


def _carry(source: socket.socket, sink: socket.socket, pace: _Pace) -> None:
    under_way: queue.Queue[tuple[float, bytes]] = queue.Queue(_BLOCKS)
    arriving = threading.Thread(target=_arrive, args=(under_way, sink))
    arriving.start()
    with suppress(OSError):
        while data := source.recv(_BLOCK):
            left = pace.leave(len(data))
            under_way.put((left + ROUND_TRIP / 2, data))
            time.sleep(max(0.0, left - _AHEAD - time.monotonic()))
    under_way.put((time.monotonic() + ROUND_TRIP / 2, b""))
    arriving.join()
    for end in (partial(source.shutdown, socket.SHUT_RD), partial(sink.shutdown, socket.SHUT_WR)):
        with suppress(OSError):
            end()


def _arrive(under_way: queue.Queue[tuple[float, bytes]], sink: socket.socket) -> None:
    is_open = True
    while True:
        due, data = under_way.get()
        if not data:
            return
        time.sleep(max(0.0, due - time.monotonic()))
        if is_open:
            try:
                sink.sendall(data)
            except OSError:
                is_open = False


def free_port() -> int:
    """A port of loopback that nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port
