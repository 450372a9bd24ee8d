# SPDX-License-Identifier: Apache-2.0
"""What a RUN step writes, passed on line by line with the values of its secrets hidden."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import BinaryIO, Final

_LAST_LINES: Final = 20
_LONGEST_LINE: Final = 1 << 16
# Shorter ones would hide words of no importance all over the output.
_SHORTEST_HIDDEN: Final = 6


class StepOutput:
    """What a step writes, passed on line by line; the last lines are kept.

    A context manager: afterwards all of it has been passed on. Whole values of secrets are hidden.
    """

    def __init__(self, tell: Callable[[str], None], secrets: tuple[bytes, ...]) -> None:
        self.last: deque[str] = deque(maxlen=_LAST_LINES)
        self._tell = tell
        self._hidden = _hidden(secrets)
        beginning, self.end = os.pipe()
        self._stream: BinaryIO = open(beginning, "rb", buffering=0)  # noqa: SIM115 - see __exit__
        self.null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> StepOutput:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self.end)
        os.close(self.null)
        self._thread.join()
        self._stream.close()

    def _read(self) -> None:
        rest = b""
        while data := self._stream.read(_LONGEST_LINE):
            data = (rest + data).replace(b"\r\n", b"\n")
            # What follows says whether a last CR is half a line's end or a whole one.
            end = b"\r" if data.endswith(b"\r") else b""
            *lines, rest = data.removesuffix(end).replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                self._pass(line)
            if len(rest) > _LONGEST_LINE:
                self._pass(rest)
                rest = b""
            rest += end
        if rest:
            self._pass(rest.removesuffix(b"\r"))

    def _pass(self, line: bytes) -> None:
        for secret in self._hidden:
            line = line.replace(secret, b"***")
        text = line.decode("utf-8", "replace")
        self.last.append(text)
        self._tell(text)


def _hidden(secrets: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The lines of the secrets that are worth hiding, longest first."""
    lines = {line.strip() for secret in secrets for line in secret.split(b"\n")}
    found = [line for line in lines if len(line) >= _SHORTEST_HIDDEN]
    return tuple(sorted(found, key=len, reverse=True))
