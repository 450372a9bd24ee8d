# SPDX-License-Identifier: Apache-2.0
"""What the tests that attack the command share: starting it in odd ways, and judging what is left.

A refusal is judged whole: exit code, empty stdout, an error in three parts, a store in which
everything is as its names say and nothing is half-written.
"""

import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from store_samples import faults
from wherry.store.store import open_store
from wherry_fixtures import Finished

WHERRY = (sys.executable, "-m", "wherry")
# A test run in the background of a shell ignores SIGINT, and so would all that it starts.
DEFAULT_SIGNALS = ("env", "--default-signal=INT,TERM,HUP")


def spawn(
    *words: str | Path,
    cwd: Path,
    env: Mapping[str, str],
    prefix: Sequence[str] = (),
    **options: object,
) -> subprocess.Popen[str]:
    """Start the command behind `prefix`, with both outputs in pipes unless `options` say else."""
    around: dict[str, object] = {
        "cwd": cwd,
        "env": dict(env),
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "errors": "surrogateescape",
    }
    argv = [*DEFAULT_SIGNALS, *prefix, *WHERRY, *map(str, words)]
    return subprocess.Popen(argv, **{**around, **options})


def finish(process: subprocess.Popen[str], timeout: float = 120) -> Finished:
    """Wait for the end and collect the outputs."""
    output, errors = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def assert_refused(finished: Finished, code: int, *words: str) -> None:
    """The command failed with `code`, printed no result and one error that holds `words`."""
    assert finished.returncode == code, finished.stderr
    assert not finished.stdout
    assert "Traceback" not in finished.stderr
    lines = finished.stderr.splitlines()
    heads = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    assert len(heads) == 1, finished.stderr
    told = "\n".join(lines[heads[0] :])
    assert told.count("\nhint: ") == 1, told
    for word in words:
        assert word in told, told


def assert_nothing_half_written(store: Path, *, tags: Sequence[str] = ()) -> None:
    """The store is sound, holds no staged leftovers, and its tags are `tags`."""
    if not (store / "state.db").exists():
        assert not list(store.glob("blobs/*/*"))
        return
    assert faults(store) == []
    with open_store(store) as opened:
        assert sorted(row.reference.familiar for row in opened.images.list()) == sorted(tags)
        assert opened.prune(dry_run=True).leftovers == 0


class TerminalRun:
    """The command with a terminal of its own as stderr and stdin; `screen` is what it wrote."""

    def __init__(self, *words: str, cwd: Path, env: Mapping[str, str]) -> None:
        self._main, other = pty.openpty()
        around = {**env, "TERM": "xterm"}
        self.process = spawn(*words, cwd=cwd, env=around, stdin=other, stderr=other)
        os.close(other)
        self._pieces: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def finish(self) -> tuple[Finished, str]:
        """Wait for the end; the finished process and the whole screen text."""
        output, _ = self.process.communicate(timeout=120)
        self._reader.join()
        os.close(self._main)
        finished = subprocess.CompletedProcess(
            self.process.args, self.process.returncode, output, ""
        )
        return finished, b"".join(self._pieces).decode("utf-8", "replace")

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Wait until the screen holds `text`."""
        end = time.monotonic() + seconds
        while text.encode() not in b"".join(self._pieces):
            assert time.monotonic() < end, b"".join(self._pieces)
            time.sleep(0.01)

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self._main, 4096)
            except OSError:
                return
            if not piece:
                return
            self._pieces.append(piece)


def descendants_alive(marker: str) -> list[str]:
    """Command lines of living processes whose environment holds `marker`, other than our own."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if marker.encode() not in (entry / "environ").read_bytes():
                continue
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if state != "Z":
            found.append(line)
    return found
