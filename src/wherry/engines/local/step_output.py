# SPDX-License-Identifier: Apache-2.0
"""What a RUN step writes, passed on line by line with the values of its secrets hidden.

Lines go on as they are, for whoever shows them knows what shows them. Those that are kept become
a part of an error, which is printed as it is, so they are without terminal controls and not longer
than anybody reads.
"""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Callable
from typing import BinaryIO, Final

_LAST_LINES: Final = 20
_LONGEST_LINE: Final = 1 << 16
# Shorter ones would hide words of no importance all over the output.
_SHORTEST_HIDDEN: Final = 6
_LONGEST_KEPT: Final = 2000  # characters
# Sequences of ECMA-48 (CSI, OSC and other strings) and the control characters but for the tab.
_CONTROLS: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0a-\x1f\x7f-\x9f]"
)


class StepOutput:
    """What a step writes, passed on line by line; the last lines are kept.

    A context manager: afterwards all of it has been passed on. Whole values of secrets are hidden.
    """

    def __init__(self, tell: Callable[[str], None], secrets: tuple[bytes, ...]) -> None:
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
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

    @property
    def last(self) -> tuple[str, ...]:
        """The last lines, for an error."""
        return tuple(_kept(line) for line in self._last)

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
                rest = self._pass_begun(rest)
            rest += end
        if rest:
            self._pass(rest.removesuffix(b"\r"))

    def _pass_begun(self, line: bytes) -> bytes:
        """Pass on most of a line without an end; what may be the beginning of a secret waits."""
        line = self._without_secrets(line)
        longest = len(self._hidden[0]) if self._hidden else 1
        end = max(len(line) - (longest - 1), 0)
        if end:
            self._pass(line[:end])
        return line[end:]

    def _pass(self, line: bytes) -> None:
        text = self._without_secrets(line).decode("utf-8", "replace")
        self._last.append(text)
        self._tell(text)

    def _without_secrets(self, line: bytes) -> bytes:
        for secret in self._hidden:
            line = line.replace(secret, b"***")
        return line


def _kept(line: str) -> str:
    text = _CONTROLS.sub("", line)
    return text if len(text) <= _LONGEST_KEPT else f"{text[:_LONGEST_KEPT]} ..."


def _hidden(secrets: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The lines of the secrets that are worth hiding, longest first."""
    # As output is, secrets are cut at carriage returns too.
    lines = {line.strip() for secret in secrets for line in re.split(rb"[\r\n]", secret)}
    found = [line for line in lines if len(line) >= _SHORTEST_HIDDEN]
    return tuple(sorted(found, key=len, reverse=True))
