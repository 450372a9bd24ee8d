# SPDX-License-Identifier: Apache-2.0
"""Child processes: outputs, failures to start, and an end that reaches all of a group."""

import os
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from process_table import command_lines
from wherry.errors import MachineError
from wherry.process import spawn
from wherry.process.cancel import Cancelled, CancelToken
from wherry.process.spawn import Command, replayable, run

ENV = {"PATH": os.environ["PATH"]}


def shell(script: str) -> Command:
    return Command(("sh", "-c", script), "/", ENV)


def await_file(path: Path) -> None:
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.005)


def cancelled_when(path: Path, token: CancelToken) -> threading.Thread:
    """A thread that cancels as soon as `path` exists."""

    def wait() -> None:
        await_file(path)
        token.cancel()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def is_running(words: str) -> bool:
    """Whether it still runs after a moment: who was killed just now takes one to go."""
    deadline = time.monotonic() + 5
    while any(words in line for line in command_lines()):
        if time.monotonic() > deadline:
            return True
        time.sleep(0.02)
    return False


def test_outputs_are_kept_apart_and_whole() -> None:
    lines: list[str] = []
    ended = run(shell("echo out; echo err >&2; printf last >&2; exit 3"), CancelToken(),
                lines.append)  # fmt: skip
    assert ended == (3, b"out\n", b"err\nlast")
    assert lines == ["err", "last"]


def test_much_output_on_both_sides_does_not_block() -> None:
    script = "head -c 3000000 /dev/zero >&2 & head -c 3000000 /dev/zero; wait"
    ended = run(shell(script), CancelToken())
    assert (len(ended.stdout), len(ended.stderr)) == (3_000_000, 3_000_000)


def test_bytes_that_are_no_utf_8_are_shown_and_kept() -> None:
    lines: list[str] = []
    ended = run(shell(r"printf 'a\377b\n' >&2"), CancelToken(), lines.append)
    assert (ended.stderr, lines) == (b"a\xffb\n", ["a\ufffdb"])


def test_stdin_is_empty_and_the_environment_is_what_was_given() -> None:
    command = Command(("sh", "-c", "cat; env"), "/", {**ENV, "ONLY": "this"})
    found = dict(
        line.split("=", 1) for line in run(command, CancelToken()).stdout.decode().splitlines()
    )
    assert {name: found[name] for name in found if name not in ("PWD", "OLDPWD", "SHLVL", "_")} == {
        **ENV, "ONLY": "this",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "cwd"), [(("/nonexistent/x",), "/"), (("/etc/passwd",), "/"), (("sh",), "/nowhere")]
)
def test_what_cannot_be_started(argv: tuple[str, ...], cwd: str) -> None:
    with pytest.raises(MachineError, match="cannot start"):
        run(Command(argv, cwd, ENV), CancelToken())


def test_a_signal_that_ended_it_is_a_negative_status() -> None:
    assert run(shell("kill -9 $$"), CancelToken()).returncode == -9


def test_cancelling_ends_the_children_of_the_child(tmp_path: Path) -> None:
    token, begun = CancelToken(), tmp_path / "begun"
    thread = cancelled_when(begun, token)
    with pytest.raises(Cancelled):
        run(shell(f"sleep 987.{os.getpid()} & touch {begun}; wait"), token)
    thread.join()
    assert not is_running(f"sleep 987.{os.getpid()}")


@pytest.mark.parametrize(
    "script",
    [
        "trap '' TERM; touch {begun}; sleep 986.{me}; sleep 986.{me}",
        # The first process ends at once; what it started holds nothing of ours.
        "(trap '' TERM; touch {begun}; sleep 986.{me}; sleep 986.{me}) >&- 2>&- & wait",
        # The same, holding our pipe.
        "(trap '' TERM; touch {begun}; sleep 986.{me}; sleep 986.{me}) & wait",
    ],
)
def test_who_ignores_sigterm_is_killed_after_the_grace(
    tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawn, "GRACE_SECONDS", 0.3)
    token, begun = CancelToken(), tmp_path / "begun"
    thread = cancelled_when(begun, token)
    began = time.monotonic()
    with pytest.raises(Cancelled):
        run(shell(script.format(begun=begun, me=os.getpid())), token)
    thread.join()
    assert time.monotonic() - began < 20
    assert not is_running(f"sleep 986.{os.getpid()}")


def test_cancelled_before_it_began(tmp_path: Path) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        run(shell(f"sleep 30; touch {tmp_path}/late"), token)
    assert not (tmp_path / "late").exists()


def test_ctrl_c_in_the_thread_that_waits_ends_the_child() -> None:
    """Library use, with Python's own handler."""
    script = (
        "import os, signal, sys, threading\n"
        "from wherry.process.cancel import CancelToken\n"
        "from wherry.process.spawn import Command, run\n"
        "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "try:\n"
        "    run(Command(('sleep', '30'), '/', {'PATH': sys.argv[1]}), CancelToken())\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    began = time.monotonic()
    told = subprocess.run([sys.executable, "-c", script, ENV["PATH"]], capture_output=True,
                          text=True, timeout=60, check=False)  # fmt: skip
    assert told.stdout == "interrupted\n", told.stderr
    assert time.monotonic() - began < 20


def test_descriptors_given_along_stay_open_in_the_child(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        script = f"import os; os.write({file.fileno()}, b'x')"
        command = Command((sys.executable, "-c", script), "/", ENV, (file.fileno(),))
        ended = run(command, CancelToken())
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "file").read_text() == "x"


def test_a_command_is_told_so_that_a_shell_runs_the_same(tmp_path: Path) -> None:
    odd = "it's $HOME \n*"
    command = Command(("printf", "%s", odd), str(tmp_path), {**ENV, "A": odd, "SAME": "1"})
    line = replayable(command, {"SAME": "1", **ENV})
    assert "SAME" not in line
    told = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True, env=ENV)
    assert told.stdout == odd
    assert shlex.split(line)[:3] == ["cd", str(tmp_path), "&&"]


# The token


def test_each_callback_runs_once_and_only_inside_its_block() -> None:
    token, called = CancelToken(), list[str]()
    with token.on_cancel(lambda: called.append("over")):
        pass
    with token.on_cancel(lambda: called.append("inside")):
        token.cancel()
        token.cancel()
    with token.on_cancel(lambda: called.append("late")):
        pass
    assert called == ["inside", "late"]
    assert token.cancelled
    with pytest.raises(Cancelled):
        token.check()


def test_a_callback_may_cancel_and_register_again() -> None:
    token, called = CancelToken(), list[str]()

    def again() -> None:
        token.cancel()
        with token.on_cancel(lambda: called.append("inner")):
            called.append("outer")

    with token.on_cancel(again):
        token.cancel()
    assert called == ["inner", "outer"]


def test_a_cancel_in_the_middle_of_registering_is_not_missed() -> None:
    """A signal handler runs between any two lines of the main thread."""
    token, called = CancelToken(), list[str]()

    class Interrupting(dict[int, object]):
        def __setitem__(self, number: int, callback: object) -> None:
            token.cancel()
            super().__setitem__(number, callback)

    token._callbacks = Interrupting()  # type: ignore[assignment] # stands for a signal
    with token.on_cancel(lambda: called.append("once")):
        pass
    assert called == ["once"]
