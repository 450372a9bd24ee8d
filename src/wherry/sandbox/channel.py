# SPDX-License-Identifier: Apache-2.0
"""Typed messages between wherry and the process inside the namespaces, over one socket pair.

A message is a frozen value, sent as one line of JSON; a descriptor may ride along. The socket also
tells each side of the other's end: whoever reads end-of-file cleans up and stops, so that killing
either leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import select
import socket
from collections.abc import Callable
from typing import Final, NamedTuple

from wherry.errors import InternalError


class Check(NamedTuple):
    """To the worker, first of all: prove the rights; which of `runtimes` (paths) works?

    `directory` is the run's own and removed at the end, `leftovers` at once. `mapping` and
    `initial` (no user namespace outside) tell which mounts there will be.
    """

    directory: str
    runtimes: tuple[str, ...]
    leftovers: tuple[str, ...]
    mapping: str
    initial: bool


class Ready(NamedTuple):
    """Mounts work. `runtime` is a path or empty; `problems` tell why none works."""

    own_proc: bool
    runtime: str
    problems: tuple[str, ...]


class Unpack(NamedTuple):
    """To the worker: unpack the layers, lowest first, keeping owners or not.

    Each layer's blob rides along as a file descriptor; `layers` holds for each its OCI descriptor
    as JSON, `diff_ids` the digest of its tar. `packages` is a directory to import the zstd library
    from, or empty.
    """

    layers: tuple[str, ...]
    diff_ids: tuple[str, ...]
    keep_owners: bool
    packages: str


class Unpacked(NamedTuple):
    """The root tree is there; its user files are wanted to know who runs."""

    passwd: str
    group: str


class Start(NamedTuple):
    """To the worker: start the program that `config` (an OCI runtime config) describes.

    `runtime` empty means without one. `remap` is true where the program's ids exist only in one
    more namespace. The caller's stdin, stdout and stderr ride along, unless it has a terminal.
    """

    config: str
    runtime: str
    remap: bool
    has_volumes: bool


class Started(NamedTuple):
    """The program runs; its terminal's main side rides along where it has one."""

    has_terminal: bool


class Signal(NamedTuple):
    """To the worker: pass this signal to the program."""

    number: int


class Exited(NamedTuple):
    """The program ended and nothing of the run is left; `code` as a shell tells it."""

    code: int


class Failed(NamedTuple):
    """What was asked did not work; `code` is the exit code it calls for."""

    code: int
    what: str
    why: str
    hint: str


Message = Check | Ready | Unpack | Unpacked | Start | Started | Signal | Exited | Failed
_TYPES: Final[dict[str, type[Message]]] = {
    kind.__name__: kind
    for kind in (Check, Ready, Unpack, Unpacked, Start, Started, Signal, Exited, Failed)
}
_CHUNK: Final = 1 << 16
_MOST_DESCRIPTORS: Final = 253  # the kernel's SCM_MAX_FD


def encode(message: Message) -> bytes:
    """One line for one message."""
    return json.dumps([type(message).__name__, *message]).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message of one line; raises `InternalError` for anything else."""
    try:
        name, *fields = json.loads(line)
        # Only what `encode` wrote arrives here; the fields are checked by their number.
        make: Callable[..., Message] = _TYPES[name]
        return make(*(tuple(item) if isinstance(item, list) else item for item in fields))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InternalError("a message between wherry's processes is broken") from error


class Channel:
    """One end of the socket pair; not thread-safe. Owns the socket and what comes through it."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._buffer = b""
        self._descriptors: list[int] = []

    def fileno(self) -> int:
        """For `select`: readable means a message, a part of one, or the end."""
        return self._socket.fileno()

    def send(self, message: Message, descriptors: tuple[int, ...] = ()) -> None:
        """Send; a peer that is gone is found by reading, so that nothing is raised for it."""
        data = encode(message)
        try:
            if descriptors:
                sent = socket.send_fds(self._socket, [data], list(descriptors))
                data = data[sent:]
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def receive(self) -> Message | None:
        """The next message, waiting for it; None once the other end is gone."""
        while b"\n" not in self._buffer:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._socket, _CHUNK, _MOST_DESCRIPTORS)
            except ConnectionResetError:
                return None
            self._descriptors += descriptors
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return decode(line)

    @property
    def has_message(self) -> bool:
        """Whether `receive` would return without reading the socket."""
        return b"\n" in self._buffer

    @property
    def is_gone(self) -> bool:
        """Whether the other end closed and nothing is left to read; does not wait."""
        if self.has_message or not select.select([self._socket], [], [], 0)[0]:
            return False
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except ConnectionResetError:
            return True

    def take_descriptor(self) -> int:
        """The oldest descriptor received and not yet taken; the caller closes it."""
        if not self._descriptors:
            raise InternalError("a descriptor was promised and did not come")
        return self._descriptors.pop(0)

    def close(self) -> None:
        """Close the socket and whatever was not taken."""
        self._socket.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
