# SPDX-License-Identifier: Apache-2.0
"""What the main process and the namespace worker say to each other, and the values in it.

Many requests are under way at once: each has a number, which its answer repeats. A message is a
line of JSON behind its length and the number of descriptors that came with its first byte; so one
socket pair carries all of it, and its end tells each side that the other is gone. Nothing here is
ever logged: a step's secrets pass through.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from typing import Any, Final, NamedTuple, Self

from wherry.errors import InternalError
from wherry.sandbox.mapping import Mapping

_HEAD: Final = struct.Struct("<II")
_CHUNK: Final = 1 << 16
_MOST_DESCRIPTORS: Final = 253  # the kernel's SCM_MAX_FD
_SHORT: Final = {Mapping.ROOT: "root", Mapping.RANGES: "ranges", Mapping.ONE: "one"}


class Place(NamedTuple):
    """How snapshots are kept here: those of another place are of no use.

    `kind` is "overlay" (`fs` holds only what a slab changes) or "whole" (`fs` holds everything).
    `users` and `groups` name the outer ids of all subordinate ones, as `100000` or `100000+4095`
    (65535 of them need no number), empty where no user namespace lies around.
    """

    kind: str
    mapping: Mapping
    users: str = ""
    groups: str = ""

    @property
    def name(self) -> str:
        """For keys: `overlay-ranges-100000`."""
        words = [self.kind, _SHORT[self.mapping]]
        if self.mapping is not Mapping.ONE and self.users:
            words.append(self.users)
            if self.groups != self.users:
                words.append(self.groups)
        return "-".join(words)


class Unpacked(NamedTuple):
    """A layer is unpacked: bytes on the disk, and what was left out as `/PATH: why`.

    `layer_index` is the layer's index as `wherry.fstree.layer_columns` encodes it, empty where none
    was made.
    """

    size: int
    skipped: tuple[str, ...]
    layer_index: bytes = b""


class Scanned(NamedTuple):
    """One path of what a slab changes, relative to the root.

    `kind` is one of directory, file, symlink, char, block, fifo, whiteout (then all else is
    empty). `mtime` is in whole seconds since 1970, `inode` the same number for the names of one
    file, 0 where it has one. `opaque`: nothing that lower slabs hold in the directory is seen.
    """

    path: str
    kind: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    inode: int = 0
    target: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()
    major: int = 0
    minor: int = 0
    opaque: bool = False

    def as_line(self) -> bytes:
        """One line of JSON."""
        xattrs = [[name, value.hex()] for name, value in self.xattrs]
        return json.dumps(self._replace(xattrs=xattrs)).encode() + b"\n"  # type: ignore[arg-type] # JSON

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """What `as_line` wrote."""
        row = cls(*json.loads(line))
        return row._replace(xattrs=tuple((name, bytes.fromhex(text)) for name, text in row.xattrs))  # type: ignore[arg-type] # JSON


class Message(NamedTuple):
    """Request or answer `number`: what it is, its fields (plain JSON), its descriptors."""

    number: int
    kind: str
    fields: dict[str, Any]
    descriptors: tuple[int, ...] = ()

    def __repr__(self) -> str:
        """Without the fields, which may hold secrets."""
        return f"Message({self.number}, {self.kind!r})"


class Exchange:
    """One end of the socket pair. `send` is for all threads, `receive` for one; owns the socket."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sending = threading.Lock()
        self._buffer = bytearray()
        self._descriptors: list[int] = []

    def fileno(self) -> int:
        """For `select`: readable means a message, a part of one, or the end."""
        return self._socket.fileno()

    def send(self, message: Message) -> None:
        """Send, waiting for room; a peer that is gone is found by reading."""
        body = json.dumps([message.number, message.kind, message.fields]).encode()
        data = memoryview(_HEAD.pack(len(body), len(message.descriptors)) + body)
        with self._sending:
            try:
                if message.descriptors:
                    sent = socket.send_fds(self._socket, [data], list(message.descriptors))
                    data = data[sent:]
                self._socket.sendall(data)
            except OSError:
                return

    def receive(self) -> Message | None:
        """The next message, waiting for it; None once the other end is gone.

        Its descriptors are the caller's to close.
        """
        head = self._take(_HEAD.size)
        if head is None:
            return None
        length, count = _HEAD.unpack(head)
        body = self._take(length)
        if body is None or len(self._descriptors) < count:
            return None
        descriptors = tuple(self._descriptors[:count])
        del self._descriptors[:count]
        try:
            number, kind, fields = json.loads(body)
        except ValueError:
            raise InternalError("a message between wherry's processes is broken") from None
        return Message(number, kind, fields, descriptors)

    def has_more(self) -> bool:
        """Whether something was read that `receive` did not return yet."""
        return bool(self._buffer)

    def _take(self, length: int) -> bytes | None:
        while len(self._buffer) < length:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._socket, _CHUNK, _MOST_DESCRIPTORS)
            except OSError:
                return None
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)
            self._descriptors += descriptors
            if not data:
                return None
            self._buffer += data
        taken = bytes(self._buffer[:length])
        del self._buffer[:length]
        return taken

    def shut(self) -> None:
        """End the conversation; the other end and our own reader see it."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def close(self) -> None:
        """Close the socket and whatever nobody took; no thread may use it any more."""
        self._socket.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
