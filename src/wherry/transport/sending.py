# SPDX-License-Identifier: Apache-2.0
"""A request's body on its way out, in blocks, from a file that is opened anew for every try.

Errors of the file become `MachineError`, so that they are not mistaken for the connection's.
"""

from __future__ import annotations

import contextlib
from typing import BinaryIO

from wherry.errors import MachineError
from wherry.transport.model import Body

_BLOCK = 1 << 18


class Sending:
    """An iterator over the body's blocks; `size` bytes in all, or `MachineError`."""

    def __init__(self, body: bytes | Body) -> None:
        self._body = body
        self._stream: BinaryIO | None = None
        self._sent = 0
        self.size = len(body) if isinstance(body, bytes) else body.size

    def __iter__(self) -> Sending:
        return self

    def __next__(self) -> bytes | memoryview:
        if self._sent == self.size:
            raise StopIteration
        block = self._next_block()
        self._sent += len(block)
        return block

    def _next_block(self) -> bytes | memoryview:
        wanted = min(_BLOCK, self.size - self._sent)
        if isinstance(self._body, bytes):
            return memoryview(self._body)[self._sent : self._sent + wanted]
        try:
            if self._stream is None:
                self._stream = self._body.open(0)
            block = self._stream.read(wanted)
        except OSError as error:
            raise MachineError(
                "cannot read what is to be sent", why=error.strerror or str(error)
            ) from error
        if not block:
            raise MachineError(
                "cannot read what is to be sent",
                why=f"it ends after {self._sent} bytes instead of {self.size}",
                hint="it was changed while it was sent; try again",
            )
        return block

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.close()
            self._stream = None
