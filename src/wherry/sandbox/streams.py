# SPDX-License-Identifier: Apache-2.0
"""Pipes between the program and the caller's own stdin, stdout and stderr.

A runtime gives the program's standard streams to the program's user; done to the caller's own file
or terminal, that would take it from the caller. So the program gets pipes, copied by threads.
Where the caller's stdout and stderr are one, so are the program's: lines stay in their order.
"""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress
from typing import Final

_CHUNK: Final = 1 << 16


class Pipes:
    """Three pipes; `inner` are the program's ends, to be closed here once it has started."""

    def __init__(self, outer: tuple[int, ...], owner: int | None) -> None:
        """`outer` are the caller's streams; `owner` a user id to give the program's ends to."""
        self._outer = outer
        in_read, self._in_write = os.pipe()
        self._out_read, out_write = os.pipe()
        if _is_one(outer[1], outer[2]):
            self._err_read, err_write = -1, os.dup(out_write)
        else:
            self._err_read, err_write = os.pipe()
        self.inner = (in_read, out_write, err_write)
        if owner is not None:
            for descriptor in self.inner:
                os.fchown(descriptor, owner, -1)
        self._outputs: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to copy; the program's ends now belong to the program alone."""
        for descriptor in self.inner:
            os.close(descriptor)
        stdin, stdout, stderr = self._outer
        _thread(stdin, self._in_write)
        self._outputs = [_thread(self._out_read, stdout)]
        if self._err_read < 0:
            os.close(stderr)
        else:
            self._outputs.append(_thread(self._err_read, stderr))

    def close(self) -> None:
        """Give up before `start`: nothing has been copied."""
        for descriptor in (*self.inner, self._in_write, self._out_read):
            os.close(descriptor)
        if self._err_read >= 0:
            os.close(self._err_read)
        for descriptor in self._outer:
            os.close(descriptor)

    def finish(self) -> None:
        """Wait until everything that the program wrote has been copied."""
        for thread in self._outputs:
            thread.join()


def _is_one(first: int, second: int) -> bool:
    """Whether both are the same pipe, so that what is written to them has one order."""
    facts = [os.fstat(descriptor) for descriptor in (first, second)]
    return stat.S_ISFIFO(facts[0].st_mode) and os.path.samestat(*facts)


def _thread(source: int, target: int) -> threading.Thread:
    thread = threading.Thread(target=_copy, args=(source, target), daemon=True)
    thread.start()
    return thread


def _copy(source: int, target: int) -> None:
    """Copy to the end, then close both: the other side learns that nobody reads or writes."""
    with suppress(OSError):
        while data := os.read(source, _CHUNK):
            view = memoryview(data)
            while view:
                view = view[os.write(target, view) :]
    for descriptor in (source, target):
        with suppress(OSError):
            os.close(descriptor)
