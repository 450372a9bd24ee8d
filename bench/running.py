# SPDX-License-Identifier: Apache-2.0
"""Running a command for its figures: how long it takes, how much memory it has.

Every command is a cold process with its output thrown away. Before each one the file system is
synced, outside the measured time, so that no side pays for what the one before it has written.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from bench.failure import command_failed
from bench.sides import Command

POLL_SECONDS = 0.005
_SPACE = bytearray(1 << 20)

T = TypeVar("T")
_Start = Callable[[], subprocess.Popen[bytes]]


def read_through(directory: Path) -> None:
    """Read all files below a directory, so that the system has them in its memory.

    Some machines drop what was not read for half a minute, which is less than the other side's
    build takes.
    """
    for place, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(place, name)
            # Files come and go, and a pipe would wait for ever.
            with suppress(OSError):
                if stat.S_ISREG(os.lstat(path).st_mode):
                    with open(path, "rb", buffering=0) as file:
                        while file.readinto(_SPACE):
                            pass


@dataclass(frozen=True)
class Usage:
    """What one run took: wall time in seconds, and `peak` bytes of memory."""

    seconds: float
    peak: float


@dataclass(frozen=True)
class Told:
    """What one run took in seconds, and what it wrote."""

    seconds: float
    output: str
    messages: str


@dataclass(frozen=True)
class Runner:
    """Runs commands in the environment that all of them share."""

    env: Mapping[str, str]

    def seconds(self, command: Command, env: Mapping[str, str] | None = None) -> float:
        """The wall time of a command."""
        os.sync()
        return self._watch(command, _seconds, env or {})

    def peak(self, command: Command) -> float:
        """The most memory of the command's own process, without those that it starts."""
        return self._watch(command, _peak_bytes, {})

    def peak_of_all(self, command: Command) -> float:
        """The most memory of the command's process and of those below it that run its program."""
        return self._watch(command, _peak_of_all, {})

    def usage(self, command: Command) -> Usage:
        """Wall time and memory at once, of a command that starts no others.

        The kernel counts the memory, so nothing is polled beside the clock. It cannot tell less
        than the benchmark itself has had until then.
        """
        os.sync()
        return self._watch(command, _usage, {})

    def told(self, command: Command) -> Told:
        """The wall time of a command, with what it says."""
        os.sync()
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as messages:
            seconds = self._watch(command, _seconds, {}, (output, messages))
            texts = []
            for stream in (output, messages):
                stream.seek(0)
                texts.append(stream.read().decode(errors="replace"))
        return Told(seconds, *texts)

    def _watch(
        self,
        command: Command,
        measure: Callable[[_Start], T],
        env: Mapping[str, str],
        streams: tuple[IO[bytes], IO[bytes]] | None = None,
    ) -> T:
        """Runs a command to its end under `measure`; what it says is shown only if it fails."""
        started: list[subprocess.Popen[bytes]] = []
        with tempfile.TemporaryFile() as own:
            output = streams[1] if streams else own

            def start() -> subprocess.Popen[bytes]:
                process = subprocess.Popen(
                    command.argv,
                    cwd=command.cwd,
                    env={**self.env, **command.env, **env},
                    stdin=subprocess.DEVNULL,
                    stdout=streams[0] if streams else subprocess.DEVNULL,
                    stderr=output,
                )
                started.append(process)
                return process

            try:
                figure = measure(start)
            finally:
                for process in started:
                    if process.poll() is None:
                        process.kill()
                        process.wait()
            if started[0].returncode != 0:
                output.seek(0)
                raise command_failed(command.argv, started[0].returncode, output.read())
        return figure


def say(text: str) -> None:
    """A line about what is under way."""
    print(text, file=sys.stderr, flush=True)


def _seconds(start: _Start) -> float:
    begin = time.perf_counter()
    start().wait()
    return time.perf_counter() - begin


def _usage(start: _Start) -> Usage:
    begin = time.perf_counter()
    process = start()
    _, status, spent = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    return Usage(seconds, spent.ru_maxrss * 1024)


def _peak_bytes(start: _Start) -> float:
    """The most memory that the process itself had, by polling: wait4 counts its children too.

    The value only grows while the process lives; what it grows in its last interval is not seen.
    """
    process, peak = start(), 0
    while process.poll() is None:
        peak = _high_water(process.pid) or peak
        time.sleep(POLL_SECONDS)
    return peak


def _peak_of_all(start: _Start) -> float:
    """By polling; a process counts from the second look on.

    One that is about to become another program would else count with its parent's memory.
    """
    process, peak, seen = start(), 0, set[int]()
    program = _program(process.pid)
    while process.poll() is None:
        found = {pid for pid in _family(process.pid) if _program(pid) == program}
        peak = max(peak, sum(_high_water(pid) for pid in found & seen))
        seen = found
        time.sleep(4 * POLL_SECONDS)
    return peak


def _family(ancestor: int) -> set[int]:
    """A process, what it has started, and so on."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(entry.name))
    found, waiting = set[int](), [ancestor]
    while waiting:
        pid = waiting.pop()
        found.add(pid)
        waiting += children.get(pid, ())
    return found


def _program(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return ""


def _high_water(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return 0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0  # a process that has ended has no memory to show
