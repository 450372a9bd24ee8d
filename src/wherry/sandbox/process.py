# SPDX-License-Identifier: Apache-2.0
"""The worker's process as wherry sees it: started by `unshare`, asked, ended.

Its own streams lead nowhere: the program's travel over the channel. What `unshare` or Python has
to say goes to a file and is read where the worker ends without an answer.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, Self

from wherry.errors import MachineError
from wherry.sandbox.channel import Channel

_PACKAGES: Final = str(Path(__file__).resolve().parents[2])
_END_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.01


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
        self._namespace = ""
        self._sweeper = threading.Thread(target=self._sweep, name="worker-end", daemon=True)
        self._sweeper.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        # Reaped after its group was ended: until then the number is nobody else's.
        self._sweeper.join(_END_SECONDS)
        if self._sweeper.is_alive():
            self._process.kill()
            self._sweeper.join()
        self._process.wait()
        self._stderr.close()

    def guard_namespace(self) -> None:
        """For a worker without a pid namespace: with its end, what it started ends too.

        Called once the worker has answered.
        """
        with suppress(OSError):
            namespace = _user_namespace(str(self._process.pid))
            self._namespace = "" if namespace == _user_namespace("self") else namespace

    def last_words(self) -> str:
        """What a worker that ended without an answer wrote; waits for its end."""
        self._sweeper.join()
        self._process.wait()
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 4096))
        text = self._stderr.read().decode("utf-8", "replace").strip()
        return text or f"it ended with status {self._process.returncode}"

    def _sweep(self) -> None:
        """Wait for the end of `unshare`, and end what it left.

        Where it cannot make a user namespace, the process that was to map the ids waits for ever
        and keeps the socket open, so that nobody would hear of the end.
        """
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._namespace:
            _end_all_in(self._namespace)


class WorkerProcess(SpawnedWorker):
    """The worker of one `wherry run`; `channel` speaks with it."""

    def __init__(self, words: tuple[str, ...], search_path: str, lock: int) -> None:
        """Start it, as any worker."""
        super().__init__("worker", words, search_path, lock)
        self.channel = Channel(self.end)

    def __exit__(self, *error: object) -> None:
        self.channel.close()
        super().__exit__(*error)


def _user_namespace(pid: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/user")


def _is_alive_in(pid: str, namespace: str) -> bool:
    if _user_namespace(pid) != namespace:
        return False
    with open(f"/proc/{pid}/stat", "rb") as file:
        # One that only waits to be reaped is in its namespaces still.
        return not file.read().rpartition(b") ")[2].startswith((b"Z", b"X"))


def _end_all_in(namespace: str) -> None:
    """Kill all processes of a user namespace; those that they started meanwhile, too."""
    while True:
        found = False
        for name in os.listdir("/proc"):
            # Others' processes cannot be looked at, and processes end.
            with suppress(OSError):
                if name.isdecimal() and _is_alive_in(name, namespace):
                    os.kill(int(name), signal.SIGKILL)
                    found = True
        if not found:
            return
        time.sleep(_PAUSE_SECONDS)
