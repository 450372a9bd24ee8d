# SPDX-License-Identifier: Apache-2.0
"""Starts a bundle with runc or crun, and finds out which of them works here.

`create` and `start` rather than `run`: the program then is a child of the worker, which reads its
exit status, sends its signals and hands its terminal on, and nothing of the runtime stays running.
No cgroup is made: an unprivileged user has none, and none can be left behind.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import PurePath
from typing import Final

from wherry.sandbox.mounts import Mount
from wherry.sandbox.request import CannotExecute, ProgramNotFound, RunError
from wherry.sandbox.spec import Program, runtime_config
from wherry.sandbox.users import User

NAMES: Final = ("runc", "crun")
_ID: Final = "program"
_STATE: Final = "runtime"
_CONSOLE: Final = "console.sock"
_LOG: Final = "runtime.log"
_TIMEOUT_SECONDS: Final = 30.0
_SYSTEM_DIRECTORIES: Final = (
    "bin", "lib", "lib32", "lib64", "libx32", "sbin", "usr", "nix", "gnu",
)  # fmt: skip
# Not `noexec`, a directory's name or `exec fds` (of /proc): mounts fail with the same words.
_EXEC: Final = re.compile(r"(?<![\w/.-])exec(?:utable|ve)?(?![\w/.-]| fds)")
_ENV: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


class Console:
    """Where a runtime delivers the main side of the terminal it made; a context manager."""

    def __init__(self, bundle: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        descriptor = os.open(bundle, os.O_PATH | os.O_DIRECTORY)
        try:
            # A socket's path has at most 108 bytes, a store's path may have more.
            self._socket.bind(f"/proc/self/fd/{descriptor}/{_CONSOLE}")
        finally:
            os.close(descriptor)
        self._socket.listen(1)
        self._socket.settimeout(_TIMEOUT_SECONDS)

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def receive(self) -> int:
        """The terminal's main side; the caller closes it."""
        peer, _ = self._socket.accept()
        with peer:
            _, descriptors, _, _ = socket.recv_fds(peer, 4096, 1)
        if not descriptors:
            raise RunError("the OCI runtime made no terminal", hint="run it without -t")
        return descriptors[0]


def run(runtime: str, bundle: str, streams: tuple[int, int, int]) -> int:
    """Start the program, with one call of the runtime where `create` and `start` need two.

    Returns its process id; `streams` become the program's. Raises as `create` does.
    """
    return _make("run", runtime, bundle, streams, ("--detach",))


def create(runtime: str, bundle: str, streams: tuple[int, int, int], *, terminal: bool) -> int:
    """Make everything but the program's exec; returns its process id.

    `streams` become the program's. Raises `RunError` with the runtime's own words.
    """
    options = ("--console-socket", _CONSOLE) if terminal else ()
    return _make("create", runtime, bundle, streams, options)


def start(runtime: str, bundle: str) -> None:
    """Let the created program exec. Raises `RunError`."""
    null = subprocess.DEVNULL
    _call([*_base(runtime), "start", _ID], bundle, stdin=null, stdout=null, stderr=null)


def probe(runtime: str, bundle: str, mounts: tuple[Mount, ...], program: str) -> str:
    """Start a program of this machine that does nothing; returns why that failed, or nothing.

    `bundle` is an empty directory that the caller removes; `mounts` are those of every run.
    """
    rootfs = os.path.join(bundle, "rootfs")
    os.mkdir(rootfs)
    for name in _SYSTEM_DIRECTORIES:
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{rootfs}/{name}")
        elif os.path.isdir(f"/{name}"):
            mounts = (*mounts, Mount(f"/{name}", "bind", f"/{name}", ("rbind", "rprivate")))
    config = runtime_config(Program((program,), ("PATH=/bin",), "/", User(0, 0)), mounts)
    with open(os.path.join(bundle, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    null = os.open(os.devnull, os.O_RDWR)
    try:
        pid = create(runtime, bundle, (null, null, null), terminal=False)
        start(runtime, bundle)
        _, status = os.waitpid(pid, 0)
    except (RunError, OSError, ValueError) as error:
        return error.why or error.what if isinstance(error, RunError) else str(error)
    finally:
        os.close(null)
    return "" if status == 0 else f"a trivial program ended with status {status}"


def _make(
    verb: str,
    runtime: str,
    bundle: str,
    streams: tuple[int, int, int],
    options: tuple[str, ...],
) -> int:
    stdin, stdout, stderr = streams
    command = [*_base(runtime), verb, "--bundle", ".", "--pid-file", "pid", *options, _ID]
    _call(command, bundle, stdin=stdin, stdout=stdout, stderr=stderr)
    with open(os.path.join(bundle, "pid"), encoding="ascii") as file:
        return int(file.read())


def _base(runtime: str) -> list[str]:
    name = PurePath(runtime).name
    # As root runc would make cgroups that a kill leaves behind; "rootless" lets it do without.
    quiet = ["--cgroup-manager=disabled"] if name.startswith("crun") else ["--rootless=true"]
    return [runtime, "--root", _STATE, *quiet, "--log", _LOG, "--log-format", "json"]


def _call(command: list[str], bundle: str, *, stdin: int, stdout: int, stderr: int) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=bundle,
            env=_ENV,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            timeout=_TIMEOUT_SECONDS,
            check=False,
            # Mount points that it makes in the root are like those of any other machine.
            umask=0o022,
        )
    except subprocess.TimeoutExpired as error:
        _end_begun(bundle)
        name = PurePath(command[0]).name
        raise RunError(
            "the OCI runtime does not answer", why=f"{name} was stopped after {error.timeout:.0f} s"
        ) from error
    if done.returncode != 0:
        raise _refused(PurePath(command[0]).name, done.returncode, _logged(f"{bundle}/{_LOG}"))


def _end_begun(bundle: str) -> None:
    """Kill what a runtime that was killed itself had begun: it is a child of this process now."""
    try:
        with open(os.path.join(bundle, "pid"), encoding="ascii") as file:
            pid = int(file.read())
    except (OSError, ValueError):
        return
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _refused(name: str, status: int, logged: str) -> RunError:
    kind = RunError
    # The words of exec's failures, which both runtimes pass on; only the log tells them apart.
    words = logged.lower()
    if _EXEC.search(words):
        if "executable file not found" in words or words.endswith("no such file or directory"):
            kind = ProgramNotFound
        elif words.endswith(("permission denied", "exec format error")):
            kind = CannotExecute
    why = logged or f"it ended with status {status}"
    return kind(f"{name} cannot start the program", why=why)


def _logged(path: str) -> str:
    """The last error in the runtime's log."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            entries = [json.loads(line) for line in file if line.startswith("{")]
    except (OSError, ValueError):
        return ""
    errors = [str(entry.get("msg", "")) for entry in entries if entry.get("level") == "error"]
    return errors[-1] if errors else ""
