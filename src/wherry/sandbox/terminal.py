# SPDX-License-Identifier: Apache-2.0
"""The caller's terminal carried to the program's own: bytes both ways, window size, raw mode.

In raw mode Ctrl-C is a byte that the program's terminal turns into SIGINT for the program alone,
as in any remote shell.
"""

from __future__ import annotations

import errno
import fcntl
import os
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

_CHUNK: Final = 1 << 16
_WINDOW: Final = b"\0" * 8


class Terminal:
    """The main side of the program's terminal, joined to the caller's streams. Owns `main`."""

    def __init__(self, main: int, stdin: int, stdout: int) -> None:
        self.main = main
        self._stdin = stdin
        self._stdout = stdout

    def resize(self) -> None:
        """Take over the caller's window size; the kernel tells the program."""
        for descriptor in (self._stdin, self._stdout):
            with suppress(OSError):
                size = fcntl.ioctl(descriptor, termios.TIOCGWINSZ, _WINDOW)
                fcntl.ioctl(self.main, termios.TIOCSWINSZ, size)
                return

    def take_input(self) -> bool:
        """Carry what the caller typed; False at the end of it."""
        data = _read(self._stdin)
        _write(self.main, data)
        return bool(data)

    def take_output(self) -> bool:
        """Carry what the program wrote; False once nobody can write any more."""
        data = _read(self.main)
        _write(self._stdout, data)
        return bool(data)

    def finish(self) -> None:
        """Carry the last output and close."""
        os.set_blocking(self.main, False)
        with suppress(OSError):
            while self.take_output():
                pass
        os.close(self.main)


@contextmanager
def raw_mode(stdin: int) -> Iterator[None]:
    """Let every key through inside the block; the modes of before come back after it."""
    before = termios.tcgetattr(stdin)
    tty.setraw(stdin, termios.TCSADRAIN)
    try:
        yield
    finally:
        with suppress(OSError, termios.error):
            termios.tcsetattr(stdin, termios.TCSADRAIN, before)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK)
    except OSError as error:
        # How Linux tells the end of a terminal.
        if error.errno == errno.EIO:
            return b""
        raise


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
