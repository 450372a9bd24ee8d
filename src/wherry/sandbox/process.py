# SPDX-License-Identifier: Apache-2.0
"""The worker's process as wherry sees it: started by `unshare`, asked, ended.

Its own streams lead nowhere: the program's travel over the channel. What `unshare` or Python has
to say goes to a file and is read where the worker ends without an answer.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Final, Self

from wherry.errors import MachineError
from wherry.sandbox.channel import Channel

_PACKAGES: Final = str(Path(__file__).resolve().parents[2])
_END_SECONDS: Final = 60.0


class SpawnedWorker:
    """A running worker; a context manager whose end waits for the worker's cleaning up.

    `end` is our end of the socket pair, the caller's to close before.
    """

    def __init__(self, module: str, words: tuple[str, ...], search_path: str, lock: int) -> None:
        """Start `module` of this room; `words` make its namespaces.

        `lock` is a descriptor that it keeps open. Raises `MachineError` where `unshare` cannot be
        started.
        """
        ours, theirs = socket.socketpair()
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        end = theirs.fileno()
        command = (*words, sys.executable, "-S", "-P", "-X", "utf8", "-m")
        try:
            with theirs:
                self._process = subprocess.Popen(
                    (*command, f"wherry.sandbox.{module}", str(end)),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._stderr,
                    # The user's own modules stay out: only Python's and wherry's are needed.
                    env={"PATH": search_path, "PYTHONPATH": _PACKAGES, "LC_ALL": "C"},
                    pass_fds=(end, lock),
                    # The terminal's Ctrl-C is for wherry, which passes it on.
                    start_new_session=True,
                )
        except OSError as error:
            ours.close()
            raise MachineError(
                f"cannot start {words[0]}",
                why=error.strerror or str(error),
                hint="install util-linux, which holds unshare",
            ) from error
        self.end = ours

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()

    def last_words(self) -> str:
        """What a worker that ended without an answer wrote; waits for its end."""
        self._process.wait()
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 4096))
        text = self._stderr.read().decode("utf-8", "replace").strip()
        return text or f"it ended with status {self._process.returncode}"


class WorkerProcess(SpawnedWorker):
    """The worker of one `wherry run`; `channel` speaks with it."""

    def __init__(self, words: tuple[str, ...], search_path: str, lock: int) -> None:
        """Start it, as any worker."""
        super().__init__("worker", words, search_path, lock)
        self.channel = Channel(self.end)

    def __exit__(self, *error: object) -> None:
        self.channel.close()
        super().__exit__(*error)
