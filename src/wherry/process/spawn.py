# SPDX-License-Identifier: Apache-2.0
"""Run a command to its end, with its output line by line and a kill that reaches its children.

Commands get a process group of their own, so that cancelling kills the compilers under `go build`
too; the terminal's Ctrl-C reaches wherry alone, which cancels them. The environment is always
given whole: nothing is inherited by accident.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, NamedTuple

from wherry.errors import MachineError
from wherry.process.cancel import Cancelled, CancelToken

GRACE_SECONDS = 2.0


class Command(NamedTuple):
    """A process to start: argument vector, working directory, whole environment.

    `keep_fds` are inherited: a lock's descriptor given here stays locked until the last child is
    gone, also when wherry itself is killed.
    """

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    keep_fds: tuple[int, ...] = ()


class Finished(NamedTuple):
    """How a command ended: exit status (negative: killed by that signal), its output as bytes."""

    returncode: int
    stdout: bytes
    stderr: bytes


def replayable(command: Command, base_env: Mapping[str, str] | None = None) -> str:
    """A line for a shell that runs the same again; only variables that differ from `base_env`."""
    base = base_env if base_env is not None else {}
    changed = [
        f"{key}={shlex.quote(value)}"
        for key, value in sorted(command.env.items())
        if base.get(key) != value
    ]
    words = [shlex.quote(word) for word in command.argv]
    return f"cd {shlex.quote(command.cwd)} && {' '.join([*changed, *words])}"


def run(
    command: Command,
    cancel: CancelToken,
    on_stderr_line: Callable[[str], None] | None = None,
) -> Finished:
    """Run `command` to its end; stdin is empty, both outputs are collected.

    `on_stderr_line` sees each line of stderr (decoded, without newline) as it comes, in a thread
    of its own. Raises `Cancelled` if the token was cancelled, `MachineError` if the program cannot
    be started. The exit status is the caller's to judge.
    """
    process = start(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    collected: list[bytes] = []
    with process, cancel.on_cancel(lambda: kill_group(process)):
        reader = threading.Thread(
            target=_read_lines, args=(process, collected, on_stderr_line), daemon=True
        )
        reader.start()
        try:
            stdout = process.stdout.read() if process.stdout else b""
            reader.join()
            process.wait()
        except BaseException:
            kill_group(process)
            raise
    if cancel.cancelled:
        _end_stragglers(process.pid)
        raise Cancelled
    return Finished(process.returncode, stdout, b"".join(collected))


def start(command: Command, *, stdin: int, stderr: int | IO[bytes]) -> subprocess.Popen[bytes]:
    """Start `command` as the first of a process group; its stdout is a pipe.

    `stdin` and `stderr` are as `subprocess.Popen` takes them. Raises `MachineError`.
    """
    try:
        return subprocess.Popen(
            command.argv,
            cwd=command.cwd,
            env=dict(command.env),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            process_group=0,
            pass_fds=command.keep_fds,
        )
    except OSError as error:
        raise MachineError(
            f"cannot start {command.argv[0]}",
            why=f"{error.strerror or error}",
            hint="check that it is installed and may be executed",
        ) from error


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group: SIGTERM, and SIGKILL after a short grace."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
    timer = threading.Timer(GRACE_SECONDS, _kill_hard, args=(process,))
    timer.daemon = True
    timer.start()


def _end_stragglers(group: int) -> None:
    """End what outlives the first process of a group: a tool of Go's that ignores SIGTERM.

    The number stays the group's while one of its processes lives.
    """
    end = time.monotonic() + GRACE_SECONDS
    with suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < end:
            os.killpg(group, 0)
            time.sleep(0.01)
        os.killpg(group, signal.SIGKILL)


def _kill_hard(process: subprocess.Popen[bytes]) -> None:
    # Not yet reaped, so that the number cannot belong to another group; poll() would reap. `run`
    # reaps once nobody has its pipes any more: a child that ignores SIGTERM is ended here, too.
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _read_lines(
    process: subprocess.Popen[bytes],
    collected: list[bytes],
    on_line: Callable[[str], None] | None,
) -> None:
    stream: Sequence[bytes] | None = process.stderr  # type: ignore[assignment] # iterates by line
    for line in stream or ():
        collected.append(line)
        if on_line is not None:
            on_line(line.decode("utf-8", "replace").rstrip("\r\n"))
