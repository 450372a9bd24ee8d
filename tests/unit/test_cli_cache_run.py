# SPDX-License-Identifier: Apache-2.0
"""`wherry cache run`: the command's streams, signals and exit code are its own.

What caches bring and take is not looked at here: a stand-in tells when it would.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pseudo_terminal import pty

ROOT = Path(__file__).resolve().parents[2]
PREPARED, EXPORTED = "caches are here", "caches are written"
SCRIPT = """
import contextlib, sys
from wherry.api import command_caches
from wherry.cli.main import main
from wherry.errors import NetworkError
from wherry.events import Level, Message

mode = sys.argv.pop(1)

@contextlib.contextmanager
def caches_around(command, around):
    if mode == "broken":
        raise NetworkError("the cache is broken", hint="mend it")
    around.sink(Message(Level.INFO, "caches are here"))
    yield
    around.sink(Message(Level.INFO, "caches are written"))
    if mode == "full":
        raise NetworkError("the cache is full", hint="make room")

if mode != "real":
    command_caches.caches_around = caches_around
sys.argv = ["wherry", "cache", "run", *sys.argv[1:]]
main()
"""


def start(mode: str, *words: str, **streams: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, mode, *words],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "HOME": "/nonexistent",
             "PYTHONUTF8": "1", "MINE": "kept"},
        text=True, **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE,
                      "stderr": subprocess.PIPE, **streams},
    )  # fmt: skip


def run(mode: str, *words: str, stdin: str = "") -> tuple[int, str, str]:
    with start(mode, *words) as process:
        out, err = process.communicate(stdin, timeout=60)
    return process.returncode, out, err


def test_streams_and_environment_are_the_commands() -> None:
    code, out, err = run("", "--", "sh", "-c", 'cat; echo "$MINE $PWD"; echo oops >&2', stdin="in")
    assert code == 0
    assert out == f"inkept {os.getcwd()}\n"
    assert err.splitlines() == [PREPARED, "oops", EXPORTED]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--", "true"), 0),
        (("false",), 1),
        (("--", "sh", "-c", "exit 42"), 42),
        (("--", "sh", "-c", "kill -SEGV $$"), 139),
        # Flags after the command are its own.
        (("sh", "-c", "exit $#", "--cache-from", "a", "--quiet"), 2),
    ],
)
def test_the_exit_code_is_the_commands(words: tuple[str, ...], code: int) -> None:
    found, _, err = run("", *words)
    assert found == code, err
    assert EXPORTED in err


@pytest.mark.parametrize(
    ("mode", "words", "code", "told"),
    [
        ("", ("no-such-program",), 127, "there is no program no-such-program on PATH"),
        ("", ("/",), 126, "/ cannot be executed"),
        ("", (), 125, "Missing argument"),
        ("", ("--nope", "true"), 125, "No such option"),
        ("broken", ("true",), 125, "the cache is broken"),
        ("full", ("true",), 125, "the cache is full"),
        ("real", ("--cache-from", "type=gha", "true"), 125, "BuildKit's own cache"),
        ("real", ("true",), 125, "no cache is named"),
    ],
)
def test_failures_of_its_own_have_other_codes(
    tmp_path: Path, mode: str, words: tuple[str, ...], code: int, told: str
) -> None:
    if mode == "real":
        words = ("--store", str(tmp_path / "store"), *words)
    found, _, err = run(mode, *words)
    assert found == code, err
    assert told in err


def test_what_the_command_said_counts_more_than_a_cache_that_is_full() -> None:
    code, _, err = run("full", "sh", "-c", "exit 3")
    assert code == 3
    assert EXPORTED in err


def test_a_script_without_an_interpreter_is_no_program(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("true\n")
    script.chmod(0o755)
    code, _, err = run("", str(script))
    assert code == 126, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_and_nothing_is_written(number: signal.Signals) -> None:
    with start("", "sh", "-c", "echo started; exec sleep 60") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert EXPORTED not in err


def test_other_signals_are_the_commands_to_judge() -> None:
    script = "trap 'echo got; exit 0' USR1; echo started; while :; do sleep 0.05; done"
    with start("", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGUSR1)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "got\n")
    assert EXPORTED in err


def test_at_a_terminal_the_view_makes_room() -> None:
    with pty() as terminal:
        with start("", "--progress", "tty", "sh", "-c", "echo between; test -t 1",
                   stdin=subprocess.DEVNULL, stdout=terminal.stream,
                   stderr=terminal.stream) as process:  # fmt: skip
            code = process.wait(60)
        terminal.close()
        shown = terminal.screen.shown
    assert code == 0
    assert shown == [PREPARED, "between", EXPORTED]


def test_quiet_says_nothing_of_caches() -> None:
    assert run("", "-q", "echo", "x") == (0, "x\n", "")
