# SPDX-License-Identifier: Apache-2.0
"""Waits for the worker while signals, window size and terminal pass through."""

from __future__ import annotations

import os
import selectors
import signal
from contextlib import ExitStack
from typing import Final, TypeVar

from wherry.errors import Interrupted, MachineError, WherryError
from wherry.sandbox.channel import (
    Exited,
    Failed,
    Message,
    Ready,
    Signal,
    Start,
    Started,
    Unpacked,
)
from wherry.sandbox.process import WorkerProcess
from wherry.sandbox.request import Caller, CannotExecute, ProgramNotFound, RunError
from wherry.sandbox.terminal import Terminal, raw_mode

_M = TypeVar("_M", Ready, Unpacked, Started)
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# As in Docker's client: whoever asks three times to end means it.
_PATIENCE: Final = 3


def failure(answer: Failed) -> WherryError:
    """The exception that an answer of the worker stands for."""
    kinds: tuple[type[WherryError], ...] = (CannotExecute, ProgramNotFound, MachineError)
    kind = next((kind for kind in kinds if kind.exit_code == answer.code), RunError)
    return kind(answer.what, why=answer.why, hint=answer.hint)


class Supervisor:
    """Stands between one caller and one worker."""

    def __init__(self, caller: Caller, *, interactive: bool) -> None:
        self._caller = caller
        self._interactive = interactive
        self._asked = 0

    def await_answer(self, worker: WorkerProcess, kind: type[_M]) -> _M:
        """The worker's answer; raises what it failed with, or `Interrupted` on a signal."""
        with selectors.DefaultSelector() as selector:
            selector.register(worker.channel, selectors.EVENT_READ)
            if self._caller.signals >= 0:
                selector.register(self._caller.signals, selectors.EVENT_READ)
            while not worker.channel.has_message:
                ready = {key.fd for key, _ in selector.select()}
                if self._caller.signals in ready:
                    # The program may run before the worker can say so.
                    if kind is Started:
                        self._pass_signals(worker, None)
                    else:
                        self._stop_on_signal()
                if worker.channel.fileno() in ready:
                    break
        answer = _received(worker)
        if not isinstance(answer, kind):
            raise RunError("the sandbox lost step", why=f"it answered {answer}")
        return answer

    def run(self, worker: WorkerProcess, start: Start, *, terminal: bool) -> int:
        """Start the program and wait for its end; returns its exit code."""
        with ExitStack() as stack:
            if terminal:
                worker.channel.send(start)
            else:
                null = os.open(os.devnull, os.O_RDWR)
                stack.callback(os.close, null)
                stdin = self._caller.stdin if self._interactive else null
                worker.channel.send(start, (stdin, self._caller.stdout, self._caller.stderr))
            self.await_answer(worker, Started)
            joined = None
            if terminal:
                main = worker.channel.take_descriptor()
                joined = Terminal(main, self._caller.stdin, self._caller.stdout)
                stack.callback(joined.finish)
                joined.resize()
                if self._interactive:
                    stack.enter_context(raw_mode(self._caller.stdin))
            return self._wait(worker, joined)

    def _wait(self, worker: WorkerProcess, terminal: Terminal | None) -> int:
        with selectors.DefaultSelector() as selector:
            selector.register(worker.channel, selectors.EVENT_READ)
            if self._caller.signals >= 0:
                selector.register(self._caller.signals, selectors.EVENT_READ)
            if terminal is not None:
                selector.register(terminal.main, selectors.EVENT_READ)
                if self._interactive:
                    selector.register(self._caller.stdin, selectors.EVENT_READ)
            while True:
                wait = 0 if worker.channel.has_message else None
                ready = {key.fd for key, _ in selector.select(wait)}
                if self._caller.signals in ready:
                    self._pass_signals(worker, terminal)
                if terminal is not None:
                    if terminal.main in ready and not terminal.take_output():
                        selector.unregister(terminal.main)
                    if self._caller.stdin in ready and not terminal.take_input():
                        selector.unregister(self._caller.stdin)
                if worker.channel.fileno() in ready or worker.channel.has_message:
                    answer = _received(worker)
                    if isinstance(answer, Exited):
                        return answer.code

    def _stop_on_signal(self) -> None:
        for number in self._take_signals():
            if number in _ENDING:
                raise Interrupted(number)

    def _pass_signals(self, worker: WorkerProcess, terminal: Terminal | None) -> None:
        for number in self._take_signals():
            if number == signal.SIGWINCH:
                if terminal is not None:
                    terminal.resize()
                continue
            self._asked += number in _ENDING
            ended = self._asked >= _PATIENCE
            worker.channel.send(Signal(signal.SIGKILL if ended else number))

    def _take_signals(self) -> bytes:
        return os.read(self._caller.signals, 64)


def _received(worker: WorkerProcess) -> Message:
    answer = worker.channel.receive()
    if answer is None:
        raise RunError("the sandbox ended unexpectedly", why=worker.last_words())
    if isinstance(answer, Failed):
        raise failure(answer)
    return answer
