# SPDX-License-Identifier: Apache-2.0
"""Writing to pipes and devices whose other end may read slowly, or not at all.

A blocked write is not ended by a signal that another thread takes: so no write blocks, and whoever
cancels is heard in between.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from typing import Final

from wherry.process.cancel import CancelToken

# Seconds until somebody who cancels is heard.
_STEP: Final = 0.1
_LARGE: Final = 1 << 20


class PatientWriter:
    """Writes to a descriptor of the caller's; `write` raises `OSError` and `Cancelled`."""

    def __init__(self, descriptor: int, cancel: CancelToken) -> None:
        self._descriptor = descriptor
        self._cancel = cancel
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        # So much fits where a pipe takes anything at all (POSIX.1, write()); files take all.
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._piece = _LARGE if is_file else select.PIPE_BUF

    def write(self, data: bytes) -> int:
        """Write all of `data`."""
        view = memoryview(data)
        while view:
            self._cancel.check()
            if self._poll.poll(_STEP * 1000):
                view = view[os.write(self._descriptor, view[: self._piece]) :]
        return len(data)


def open_patiently(path: str, cancel: CancelToken) -> int:
    """A descriptor to write to `path`, a pipe or device; waits for a named pipe's reader.

    Raises `OSError`, `Cancelled`.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(os.stat(path).st_mode):
                raise
        else:
            os.set_blocking(descriptor, True)
            return descriptor
        cancel.check()
        time.sleep(_STEP)
