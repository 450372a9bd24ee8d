# SPDX-License-Identifier: Apache-2.0
"""A pseudo-terminal and the little of a screen that progress needs, for tests of what is shown."""

import fcntl
import os
import re
import struct
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
NO_WRAP, WRAP = "\x1b[?7l", "\x1b[?7h"
CONTROLS = (HIDE, SHOW, NO_WRAP, WRAP)


class Screen:
    """As much of a terminal as the live view needs: lines, a cursor, erasing."""

    def __init__(self) -> None:
        self.lines = [""]
        self.row = 0
        self.column = 0

    def feed(self, text: str) -> None:
        for part in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", text):
            self._take(part)

    def _take(self, part: str) -> None:
        match part:
            case "\r":
                self.column = 0
            case "\n":
                self.row, self.column = self.row + 1, 0
                if self.row == len(self.lines):
                    self.lines.append("")
            case "\x1b[2K":
                self.lines[self.row] = ""
            case "\x1b[K":
                self.lines[self.row] = self.lines[self.row][: self.column]
            case "\x1b[J":
                self.lines[self.row :] = [self.lines[self.row][: self.column]]
            case _ if up := re.fullmatch(r"\x1b\[(\d+)A", part):
                self.row = max(self.row - int(up[1]), 0)
            case _ if part.startswith("\x1b["):
                assert part.endswith("m") or part in CONTROLS, f"unknown control {part!r}"
            case _:
                old = self.lines[self.row].ljust(self.column)
                self.column += len(part)
                self.lines[self.row] = old[: self.column - len(part)] + part + old[self.column :]

    @property
    def shown(self) -> list[str]:
        return [line.rstrip() for line in self.lines if line.strip()]


class Pty:
    """A pseudo-terminal: `stream` is what a program writes to, `text` what arrived."""

    def __init__(self, width: int) -> None:
        self._master, slave = os.openpty()
        size = struct.pack("HHHH", 24, width, 0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        self.stream: TextIO = os.fdopen(slave, "w", encoding="utf-8")
        self.text = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        data = b""
        while True:
            try:
                piece = os.read(self._master, 1 << 16)
            except OSError:  # the last writer is gone
                break
            data += piece
            self.text = data.decode("utf-8", "ignore")

    def close(self) -> None:
        if self.stream.closed:
            return
        self.stream.close()
        self._reader.join()
        os.close(self._master)

    def wait_for(self, words: str) -> list[str]:
        """Wait until the screen's last line has `words`: a picture may arrive in pieces."""
        deadline = time.monotonic() + 20
        while not (shown := self.screen.shown) or words not in shown[-1]:
            assert time.monotonic() < deadline, f"{words!r} never came: {self.text!r}"
            time.sleep(0.02)
        return shown

    @property
    def screen(self) -> Screen:
        screen = Screen()
        # The terminal's line discipline turned \n into \r\n, which changes nothing here.
        screen.feed(self.text)
        return screen


@contextmanager
def pty(width: int = 100) -> Iterator[Pty]:
    terminal = Pty(width)
    try:
        yield terminal
    finally:
        terminal.close()
