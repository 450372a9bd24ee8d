# SPDX-License-Identifier: Apache-2.0
"""Docker's credential helpers: `docker-credential-NAME get|store|erase`, found on PATH.

The request goes in on standard input, never as an argument; the answer is JSON on standard output
(docker-credential-helpers, "Development"). A helper is ended with its group if the build is
cancelled or it takes too long; what it prints is read up to 1 MiB.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, NamedTuple

from wherry.errors import MachineError
from wherry.process.cancel import Cancelled, CancelToken
from wherry.process.spawn import kill_group
from wherry.registry.problems import printable

HELPER_SECONDS = 30.0
OUTPUT_LIMIT = 1 << 20
# How often a silent helper is asked whether it still runs, and how long output is awaited from
# one that does not: a key agent that it started may hold its pipes for ever.
_TICK = 0.1
_LAST_WORDS = 0.5
_NOT_FOUND = "credentials not found in native keychain"


class Kept(NamedTuple):
    """What a helper answers to `get`; the user `<token>` marks an identity token."""

    username: str
    secret: str

    def __repr__(self) -> str:
        return f"Kept(username={self.username!r})"


class _Spoken(NamedTuple):
    returncode: int
    stdout: bytes
    stderr: bytes
    problem: str

    def says(self, words: str) -> bool:
        return words in (self.stdout + self.stderr).decode("utf-8", "replace")


class Helper(NamedTuple):
    """One helper program.

    `name` is what stands behind `docker-credential-`, `file` the configuration that names it,
    `env` its whole environment. All methods raise `MachineError` if the helper is missing, crashes,
    hangs or says something else than it should, and `Cancelled`.
    """

    name: str
    file: str
    env: Mapping[str, str]
    cancel: CancelToken
    seconds: float = HELPER_SECONDS

    @property
    def program(self) -> str:
        """The program's name."""
        return f"docker-credential-{self.name}"

    def get(self, server: str) -> Kept | None:
        """The user and secret kept for `server`; None where there are none."""
        spoken = self._speak("get", server.encode())
        if spoken.returncode and not spoken.problem and spoken.says(_NOT_FOUND):
            return None
        self._expect_success(spoken, "get")
        try:
            answer = json.loads(spoken.stdout)
            username, secret = answer["Username"], answer["Secret"]
        except (ValueError, RecursionError, KeyError, TypeError):
            raise self._failed("get", "its answer is not the JSON of a credential") from None
        if not isinstance(username, str) or not isinstance(secret, str):
            raise self._failed("get", "its answer is not the JSON of a credential")
        return Kept(username, secret) if secret else None

    def store(self, server: str, username: str, secret: str) -> None:
        """Keep a user and secret for `server`."""
        message = {"ServerURL": server, "Username": username, "Secret": secret}
        spoken = self._speak("store", json.dumps(message).encode())
        self._expect_success(spoken, "store", secret)

    def erase(self, server: str) -> bool:
        """Forget what is kept for `server`; False where the helper says that it had nothing."""
        spoken = self._speak("erase", server.encode())
        if spoken.returncode and not spoken.problem and spoken.says(_NOT_FOUND):
            return False
        self._expect_success(spoken, "erase")
        return True

    def _speak(self, verb: str, message: bytes) -> _Spoken:
        try:
            process = subprocess.Popen(
                [self.program, verb],
                cwd="/",
                env={**self.env},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise MachineError(
                f"cannot start {self.program}",
                why=f"{self.file} names it as the place of credentials: {reason}",
                hint=f"install {self.program} on PATH, or take it out of {self.file}",
            ) from None
        end = time.monotonic() + self.seconds
        with process, self.cancel.on_cancel(lambda: kill_group(process)):
            try:
                stdout, stderr, problem = _converse(process, message, end)
                if problem:
                    kill_group(process)
            except BaseException:
                kill_group(process)
                raise
        if self.cancel.cancelled or problem:
            # What outlives the helper itself: a child that ignores SIGTERM. The number stays the
            # group's while one of its processes lives.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        if self.cancel.cancelled:
            raise Cancelled
        return _Spoken(process.returncode, stdout, stderr, problem)

    def _expect_success(self, spoken: _Spoken, verb: str, secret: str = "") -> None:
        if spoken.problem:
            raise self._failed(verb, spoken.problem)
        if not spoken.returncode:
            return
        status = spoken.returncode
        ended = f"exit status {status}" if status > 0 else f"killed by signal {-status}"
        # Helpers tell their errors on stdout; JSON there is a credential, not an error.
        is_error = b"{" not in spoken.stdout
        words = spoken.stderr + b" " + spoken.stdout if is_error else spoken.stderr
        known = {secret, _secret_in(spoken.stdout)}
        hidden = tuple({text for one in known for text in (one, json.dumps(one)[1:-1])})
        text = printable(words.decode("utf-8", "replace"), hidden)
        raise self._failed(verb, f"{ended}: {text}" if text else ended)

    def _failed(self, verb: str, why: str) -> MachineError:
        return MachineError(
            f"{self.program} {verb} failed",
            why=f"{self.file} names it as the place of credentials; {why}",
            hint=f"run `{self.program} list` to see what it says, or take it out of {self.file}",
        )


def _secret_in(stdout: bytes) -> str:
    """The secret that a helper has told although it failed, so that stderr does not show it."""
    try:
        found = json.loads(stdout)["Secret"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return ""
    return found if isinstance(found, str) else ""


def _converse(
    process: subprocess.Popen[bytes], message: bytes, end: float
) -> tuple[bytes, bytes, str]:
    """Write the message and read both outputs to their ends, or as long as the helper lives."""
    assert process.stdin and process.stdout and process.stderr  # noqa: S101 - all are PIPE
    stdout, stderr = bytearray(), bytearray()
    problem = ""
    with selectors.DefaultSelector() as selector:
        _watch_input(selector, process.stdin, message)
        for stream, taken in ((process.stdout, stdout), (process.stderr, stderr)):
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ, _reader(stream, taken))
        while selector.get_map() and not problem:
            if process.poll() is not None:
                end = min(end, time.monotonic() + _LAST_WORDS)
            for key, _events in selector.select(_TICK):
                if not key.data():
                    selector.unregister(key.fileobj)
            if max(len(stdout), len(stderr)) > OUTPUT_LIMIT:
                problem = f"it prints more than {OUTPUT_LIMIT >> 20} MiB"
            elif time.monotonic() > end:
                if process.poll() is not None:
                    break
                problem = "it does not answer"
    if not problem:
        problem = _await_end(process, end)
    return bytes(stdout), bytes(stderr), problem


def _await_end(process: subprocess.Popen[bytes], end: float) -> str:
    try:
        process.wait(max(_TICK, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        return "it does not end"
    return ""


def _watch_input(selector: selectors.BaseSelector, stdin: IO[bytes], message: bytes) -> None:
    left = memoryview(message)

    def write() -> bool:
        nonlocal left
        try:
            left = left[os.write(stdin.fileno(), left) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            # It may know the answer without the question; its output says.
            left = left[len(left) :]
        if not left:
            stdin.close()
        return bool(left)

    os.set_blocking(stdin.fileno(), False)
    selector.register(stdin, selectors.EVENT_WRITE, write)


def _reader(stream: IO[bytes], taken: bytearray) -> Callable[[], bool]:
    def read() -> bool:
        try:
            data = os.read(stream.fileno(), 65536)
        except BlockingIOError:
            return True
        taken.extend(data)
        return bool(data)

    return read
