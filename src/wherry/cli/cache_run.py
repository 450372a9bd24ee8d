# SPDX-License-Identifier: Apache-2.0
"""`wherry cache run`: a command between what Go caches bring and what they take.

The command has this process's streams, environment and directory; its exit code is this one's.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Self

import click

from wherry.cli.listening import Told, listening
from wherry.cli.options import (
    Common,
    ca_option,
    progress_option,
    quiet_option,
    store_option,
    surroundings,
)
from wherry.cli.starting import docker_command
from wherry.errors import InternalError, Interrupted, WherryError

if TYPE_CHECKING:
    from wherry.cli.progress.select import Renderer

_PASSED_ON: Final = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
# What the terminal sends to the command itself.
_FROM_KEYS: Final = (signal.SIGINT, signal.SIGQUIT)
# What asks for an end: nothing more is done then.
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_EPILOG = """\b
Examples:
  wherry cache run --cache-from ./cache --cache-to ./cache -- go test ./...
  wherry cache run --cache-from registry.example.com/shop/cache:main -- go vet
  wherry cache run -- make check          with the [cache] of wherry.toml

Exit codes: the command's own (128 + n for signal n); 125 wherry cannot start it, 126 it cannot be
executed, 127 it is not there.
"""


class _CannotRun(WherryError):
    """The command was not started, or a cache that has to be written was not."""

    exit_code = 125


class _CannotExecute(_CannotRun):
    exit_code = 126


class _NotFound(_CannotRun):
    exit_code = 127


class _Ended(Exception):
    """The command was ended from outside with `code`: nothing is to be kept of it."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@click.command("run", cls=docker_command(_CannotRun), epilog=_EPILOG,
               context_settings={"allow_interspersed_args": False},
               short_help="run a Go command with caches that travel")  # fmt: skip
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
@click.option("--cache-from", multiple=True, metavar="PLACE",
              help="Begin with the Go caches in PLACE: an image reference, or a directory that "
                   "begins with /, ./ or ../; repeatable, asked in this order.")  # fmt: skip
@click.option("--cache-to", multiple=True, metavar="PLACE",
              help="Keep there what the command used of the Go caches; repeatable.")  # fmt: skip
@click.option("--cache-key", default="", metavar="FILE",
              help="Take only Go caches that this Ed25519 key has signed, and sign those that are "
                   "kept.")  # fmt: skip
@store_option
@quiet_option
@progress_option
@ca_option
def run(  # noqa: PLR0913, PLR0917 - one parameter a flag, as click calls it
    words: tuple[str, ...],
    cache_from: tuple[str, ...],
    cache_to: tuple[str, ...],
    cache_key: str,
    store: str | None,
    quiet: bool,
    progress: str,
    ca: tuple[str, ...],
) -> int:
    """Run COMMAND, such as `go test ./...`, with Go caches that travel.

    Before it Go's caches are filled from --cache-from; after it what it used goes to --cache-to,
    results of tests too. Without these flags [cache] of wherry.toml holds. The command's streams,
    environment and exit code are its own, and a cache that cannot be had is no reason to fail.
    """
    from wherry.api.command_caches import (  # noqa: PLC0415 - for this verb only
        CachedCommand,
        caches_around,
    )

    common = Common(ca, store, progress, quiet)
    code = 0
    try:
        program = _found(words[0])
        command = CachedCommand(words, cache_from, cache_to, cache_key)
        with (
            listening(common.mode, "") as (sink, token),
            caches_around(command, surroundings(common, sink, token)),
        ):
            code = _run_command(program, words, sink)
    except _Ended as ended:
        return ended.code
    except Told as told:
        raise Told(_CannotRun.exit_code) from told
    except (_CannotRun, Interrupted, InternalError):
        raise
    except WherryError as error:
        if code:
            # What the command said counts more.
            raise Told(code) from error
        raise _CannotRun(error.what, why=error.why, hint=error.hint, where=error.where) from error
    return code


def _found(name: str) -> str:
    """The program that `name` means, as shells find it."""
    found = shutil.which(name)
    if found is not None:
        return found
    places = [name] if os.sep in name else [
        os.path.join(place, name) for place in os.environ.get("PATH", os.defpath).split(os.pathsep)
    ]  # fmt: skip
    if any(os.path.exists(place) for place in places):
        raise _CannotExecute(f"{name} cannot be executed", why="it is a directory, or its mode "
                             "does not say that it may be", hint="chmod +x")  # fmt: skip
    where = "" if os.sep in name else " on PATH"
    raise _NotFound(f"there is no program {name}{where}", hint="check its name")


def _run_command(program: str, words: Sequence[str], sink: Renderer) -> int:
    """The command's exit code; raises `_Ended` where it was ended from outside."""
    sink.leave()
    sys.stdout.flush()
    with _Signals() as signals:
        try:
            command = subprocess.Popen([*words], executable=program)
        except OSError as error:
            raise _CannotExecute(f"{words[0]} cannot be executed",
                                 why=error.strerror or str(error)) from error  # fmt: skip
        signals.pass_on_to(command)
        status = command.wait()
    sink.come_back()
    code = 128 - status if status < 0 else status
    if signals.received.intersection(_ENDING):
        raise _Ended(code)
    return code


class _Signals:
    """Signals of this process, passed on to a command by a thread; a context manager.

    Ctrl-C reaches the command from its terminal: it is not passed on where that is so.
    """

    def __init__(self) -> None:
        self.received: set[int] = set()
        self._command: subprocess.Popen[bytes] | None = None
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._thread = threading.Thread(target=self._pass_on, name="command signals", daemon=True)
        self._handlers: dict[signal.Signals, Any] = {}
        self._outer = -1

    def __enter__(self) -> Self:
        self._thread.start()
        self._outer = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in _PASSED_ON:
            # What was ignored from the start (nohup, a shell's background job) stays ignored.
            if signal.getsignal(number) != signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, lambda *_: None)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._outer)
        os.write(self._writing, b"\0")
        self._thread.join()
        os.close(self._reading)
        os.close(self._writing)

    def pass_on_to(self, command: subprocess.Popen[bytes]) -> None:
        """Pass on what comes to `command`, and what came while it was started."""
        self._command = command
        for number in tuple(self.received):
            self._send(number)

    def _pass_on(self) -> None:
        while number := os.read(self._reading, 1)[0]:
            self.received.add(number)
            self._send(number)

    def _send(self, number: int) -> None:
        if self._command is not None and not (number in _FROM_KEYS and _is_foreground()):
            self._command.send_signal(number)


def _is_foreground() -> bool:
    """Whether the keys of a terminal reach this process, and so its children."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
