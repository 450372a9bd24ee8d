# SPDX-License-Identifier: Apache-2.0
"""A process that runs beside wherry for as long as it is needed, and not a moment after wherry.

Its stdin is a pipe that wherry alone holds: the program is to end when it reads the end of it,
which the system brings about also where wherry is killed.
"""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import suppress

from wherry.process.spawn import GRACE_SECONDS, Command, kill_group, start


class Companion:
    """A running process; `end` it."""

    def __init__(self, command: Command) -> None:
        """Start it; raises `MachineError` where the program cannot be started."""
        # Kept open until `end`, which closes it.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - see above
        try:
            self._process = start(command, stdin=subprocess.PIPE, stderr=self._stderr)
        except BaseException:
            self._stderr.close()
            raise

    def is_ready(self) -> bool:
        """Wait until it writes a line to stdout; False if it ends without one."""
        stream = self._process.stdout
        return stream is not None and stream.readline().endswith(b"\n")

    def last_words(self) -> str:
        """What it wrote to stderr."""
        self._stderr.seek(0)
        return self._stderr.read(4096).decode("utf-8", "replace").strip()

    def end(self) -> None:
        """Close its stdin and wait for its end; one that does not end by itself is killed."""
        process = self._process
        with suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            kill_group(process)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._stderr.close()
