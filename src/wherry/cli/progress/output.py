# SPDX-License-Identifier: Apache-2.0
"""The stream that renderers write whole lines to: one lock, and silence once it fails.

Progress is a courtesy: a closed terminal or a full disk behind `2>log` must not end a build.
"""

from __future__ import annotations

import re
import threading
from typing import TextIO

# C0 and C1 controls but for the tab, and whole ANSI sequences: a compiler's or a test's output may
# hold them, and they would move the cursor in the live view or hide lines of a log.
_CONTROLS = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0a-\x1f\x7f-\x9f]"
)
# Marks that turn the reading order of what follows: a line could seem to say what it does not.
_TURNING = re.compile("[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# Halves of surrogate pairs: bytes of a file name that are no UTF-8.
_UNDECODED = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    """`text` on one line, without terminal controls and marks of the reading order."""
    return _UNDECODED.sub("\ufffd", _TURNING.sub("", _CONTROLS.sub("", text)))


_STYLES = re.compile(r"\x1b\[[0-9;]*m")


def without_styles(line: str) -> str:
    """A line of ours as a terminal without colours would show it."""
    return _STYLES.sub("", line)


class LineStream:
    """Writes lines to a text stream; thread-safe, never raises, never closes it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._dead = False

    @property
    def dead(self) -> bool:
        """Whether a write failed; nothing is written any more."""
        return self._dead

    def write(self, *lines: str) -> None:
        """Write `lines` as one piece, each with a newline, and flush."""
        self.put("".join(f"{line}\n" for line in lines))

    def put(self, text: str) -> None:
        """Write `text` as it is, in one piece, and flush."""
        with self._lock:
            if self._dead or not text:
                return
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):
                # ValueError: the stream is closed, or its encoding lacks a letter.
                self._dead = True
