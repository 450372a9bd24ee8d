# SPDX-License-Identifier: Apache-2.0
"""A companion is ready when it says so, and ends with its stdin, its end or wherry's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wherry.errors import MachineError
from wherry.process.companion import Companion
from wherry.process.spawn import Command

PATH = {"PATH": os.environ["PATH"]}


def shell(script: str, cwd: Path) -> Command:
    return Command(("sh", "-c", script), str(cwd), PATH)


def test_it_ends_by_itself_when_its_stdin_does(tmp_path: Path) -> None:
    companion = Companion(shell("echo ready; cat; echo done >end", tmp_path))
    assert companion.is_ready()
    assert not (tmp_path / "end").exists()
    companion.end()
    assert (tmp_path / "end").read_text() == "done\n"


def test_one_that_is_never_ready_says_why(tmp_path: Path) -> None:
    companion = Companion(shell("echo no way >&2; exit 3", tmp_path))
    assert not companion.is_ready()
    assert companion.last_words() == "no way"
    companion.end()


def test_one_that_does_not_listen_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wherry.process.companion.GRACE_SECONDS", 0.05)
    companion = Companion(shell("echo $$; exec sleep 60", tmp_path))
    assert companion.is_ready()
    began = time.monotonic()
    companion.end()
    assert time.monotonic() - began < 10


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot start no-such-program"):
        Companion(Command(("no-such-program",), str(tmp_path), PATH))


def test_it_ends_where_wherry_is_killed(tmp_path: Path) -> None:
    program = (
        "import os, signal\n"
        "from wherry.process.companion import Companion\n"
        "from wherry.process.spawn import Command\n"
        "c = Companion(Command(('sh', '-c', 'echo r; cat; echo done >end'),"
        f" {str(tmp_path)!r}, dict(os.environ)))\n"
        "assert c.is_ready()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], check=False)
    assert ran.returncode == -9
    end = time.monotonic() + 10
    while not (tmp_path / "end").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert (tmp_path / "end").exists()
