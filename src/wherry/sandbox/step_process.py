# SPDX-License-Identifier: Apache-2.0
"""The running program of a step: its streams, its end, and its being killed.

The program's streams are pipes or a terminal of its own, copied to and from the caller's: they
belong to the program's user then, who may open /dev/stdout again.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import threading
from typing import Final

from wherry.process.cancel import CancelToken
from wherry.sandbox import oci_runtime
from wherry.sandbox.launch import enter
from wherry.sandbox.spec import Program
from wherry.sandbox.streams import Pipes
from wherry.sandbox.terminal import Terminal

_RESIZE_SECONDS: Final = 0.25


class StepProcess:
    """The program of the bundle whose config.json is written."""

    def __init__(self, runtime: str, bundle: str, program: Program) -> None:
        self._runtime = runtime
        self._bundle = bundle
        self._program = program

    def run(self, streams: tuple[int, int, int], cancel: CancelToken) -> int:
        """Run it to its end; the exit code as a shell tells it.

        Raises `Cancelled` where `cancel` ended it, `RunError` where it did not start.
        """
        cancel.check()
        if self._program.terminal:
            return self._with_terminal(streams, cancel)
        # The copies are closed by the pipes, the caller's own stay open.
        pipes = Pipes(tuple(os.dup(stream) for stream in streams), self._program.user.uid)
        try:
            pid = self._start(pipes.inner)
        except BaseException:
            pipes.close()
            raise
        pipes.start()
        code = _wait(pid, cancel)
        pipes.finish()
        cancel.check()
        return code

    def _start(self, streams: tuple[int, int, int]) -> int:
        if self._runtime:
            return oci_runtime.run(self._runtime, self._bundle, streams)
        return self._enter(streams)

    def _enter(self, streams: tuple[int, int, int]) -> int:
        with open(os.path.join(self._bundle, "config.json"), encoding="ascii") as file:
            process = json.load(file)["process"]
        return enter(self._bundle, streams, process, remap=False)

    def _with_terminal(self, streams: tuple[int, int, int], cancel: CancelToken) -> int:
        terminal, pid = self._start_with_terminal(streams)
        ended, end = os.pipe()
        relay = threading.Thread(target=_carry, args=(terminal, streams[0], ended), daemon=True)
        relay.start()
        try:
            code = _wait(pid, cancel)
        finally:
            os.close(end)
            relay.join()
            os.close(ended)
        cancel.check()
        return code

    def _start_with_terminal(self, streams: tuple[int, int, int]) -> tuple[Terminal, int]:
        """Start the program; its terminal has the caller's size from the first moment."""
        if self._runtime:
            null = os.open(os.devnull, os.O_RDWR)
            try:
                with oci_runtime.Console(self._bundle) as console:
                    inner = (null, null, null)
                    pid = oci_runtime.create(self._runtime, self._bundle, inner, terminal=True)
                    terminal = Terminal(console.receive(), streams[0], streams[1])
            finally:
                os.close(null)
            terminal.resize()
            oci_runtime.start(self._runtime, self._bundle)
            return terminal, pid
        main, side = os.openpty()
        terminal = Terminal(main, streams[0], streams[1])
        terminal.resize()
        try:
            os.fchown(side, self._program.user.uid, -1)
            return terminal, self._enter((side, side, side))
        except BaseException:
            terminal.finish()
            raise
        finally:
            os.close(side)


class _Killer:
    """Kills a child that nobody has reaped yet, and no other process that got its number."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._lock = threading.Lock()
        self._ended = False

    def kill(self) -> None:
        with self._lock:
            if not self._ended:
                os.kill(self._pid, signal.SIGKILL)

    def reap(self) -> int:
        with self._lock:
            self._ended = True
            return os.waitpid(self._pid, 0)[1]


def _wait(pid: int, cancel: CancelToken) -> int:
    killer = _Killer(pid)
    with cancel.on_cancel(killer.kill):
        # The child stays there until it is reaped, so its number is nobody else's.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    result = os.waitstatus_to_exitcode(killer.reap())
    return result if result >= 0 else 128 - result


def _carry(terminal: Terminal, stdin: int, ended: int) -> None:
    """Carry both ways until `ended` is; nothing typed later is taken from the caller."""
    with selectors.DefaultSelector() as selector:
        takers = {stdin: terminal.take_input, terminal.main: terminal.take_output}
        for descriptor in (*takers, ended):
            selector.register(descriptor, selectors.EVENT_READ)
        while True:
            # The caller's window changes without a word to this process.
            terminal.resize()
            ready = [key.fd for key, _ in selector.select(_RESIZE_SECONDS)]
            if ended in ready:
                break
            for descriptor in ready:
                if not takers[descriptor]():
                    selector.unregister(descriptor)
    terminal.finish()
