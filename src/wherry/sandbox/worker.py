# SPDX-License-Identifier: Apache-2.0
"""The process inside the namespaces: `worker SOCKET`.

It unpacks the image, starts the program, passes signals on and removes everything, because only
here do the files' mapped owners exist. It is process 1 of its pid namespace: nothing that it
started outlives it. When the socket closes, wherry is gone: the program is killed and the run's
directory removed, so that even a killed wherry leaves nothing.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from typing import TypeVar

from wherry.errors import UsageError, WherryError
from wherry.fstree.unpack import Ownership, remove_tree, unpack_blob
from wherry.oci.digest import parse_digest
from wherry.oci.image import Layer, parse_descriptor
from wherry.process.cancel import Cancelled, CancelToken
from wherry.sandbox import channel as messages
from wherry.sandbox import syscalls
from wherry.sandbox.channel import Channel
from wherry.sandbox.executable import check_program
from wherry.sandbox.launch import Launched, launch
from wherry.sandbox.mapping import Mapping
from wherry.sandbox.mounts import system_mounts
from wherry.sandbox.own_mounts import close_cgroups, mount_proc, remount
from wherry.sandbox.request import RunError
from wherry.sandbox.rootpath import read_text, resolve
from wherry.sandbox.runtime_probe import find_runtime
from wherry.sandbox.spec import search_path

_M = TypeVar("_M", messages.Check, messages.Unpack, messages.Start)


class _Gone(Exception):
    """Whoever asked for the run is no more."""


class _Watch(CancelToken):
    """A token cancelled by the other end's going, looked for between two entries of a layer."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def check(self) -> None:
        if self._channel.is_gone:
            raise Cancelled


def main(arguments: list[str]) -> None:
    """Serve the other end of the socket whose descriptor is the only argument."""
    worker = Worker(Channel(socket.socket(fileno=int(arguments[0]))))
    with suppress(_Gone):
        worker.serve()
    # Not by return: a thread may still wait for the caller's stdin.
    os._exit(0)


class Worker:
    """One run, from the check to the removal."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._directory = ""
        self._root = ""

    def serve(self) -> None:
        """Answer messages until the program ended, something failed or the other end is gone."""
        try:
            self._channel.send(self._check(self._expect(messages.Check)))
            self._channel.send(self._unpack(self._expect(messages.Unpack)))
            answer: messages.Message = self._run(self._expect(messages.Start))
        except WherryError as error:
            # A damaged image is no wrong usage of the program's: docker's code for the runner.
            code = RunError.exit_code if isinstance(error, UsageError) else error.exit_code
            answer = messages.Failed(code, error.what, error.why, error.hint)
        except OSError as error:
            answer = messages.Failed(RunError.exit_code, "cannot set up the run", str(error), "")
        finally:
            self._remove()
        # Last, so that whoever hears of the end finds nothing left of the run.
        self._channel.send(answer)

    def _expect(self, kind: type[_M]) -> _M:
        message = self._channel.receive()
        if not isinstance(message, kind):
            raise _Gone
        return message

    def _remove(self) -> None:
        if self._root:
            with suppress(OSError):
                syscalls.unmount(self._root)
        if self._directory:
            with suppress(OSError):
                remove_tree(self._directory)
                # The run's own; wherry removes it too, unless it was killed.
                os.rmdir(os.path.dirname(self._directory))

    def _check(self, request: messages.Check) -> messages.Ready:
        self._directory = request.directory
        for path in request.leftovers:
            with suppress(OSError):
                remove_tree(path)
        root = os.path.join(request.directory, "rootfs")
        os.mkdir(request.directory, 0o700)
        os.mkdir(root, 0o755)
        # Devices that an image may hold stay dead files. The first of all mounts, so it also
        # proves that mounts are allowed.
        syscalls.mount(root, root, flags=syscalls.MS_BIND)
        self._root = root
        remount(root, syscalls.MS_NODEV)
        own_proc = mount_proc()
        close_cgroups()
        if not own_proc:
            # A runtime looks its processes up in /proc, where they have other numbers.
            why = "an OCI runtime needs to see its processes in /proc"
            return messages.Ready(own_proc, "", (why,) if request.runtimes else ())
        mounts = system_mounts(Mapping(request.mapping), request.initial, own_proc)
        found = find_runtime(request.runtimes, self._directory, mounts)
        return messages.Ready(own_proc, found.runtime, found.problems)

    def _unpack(self, request: messages.Unpack) -> messages.Unpacked:
        owner = Ownership.KEEP if request.keep_owners else Ownership.IGNORE
        watch = _Watch(self._channel)
        if request.packages:
            # Last, so that nothing else there takes the place of a module of Python's.
            sys.path.append(request.packages)
        for descriptor, diff_id in zip(request.layers, request.diff_ids, strict=True):
            layer = Layer(parse_descriptor(json.loads(descriptor)), parse_digest(diff_id))
            with open(self._channel.take_descriptor(), "rb") as blob:
                try:
                    unpack_blob(blob, layer, self._root, owner, cancel=watch)
                except Cancelled:
                    raise _Gone from None
        return messages.Unpacked(
            read_text(self._root, "/etc/passwd"), read_text(self._root, "/etc/group")
        )

    def _run(self, request: messages.Start) -> messages.Exited:
        process = json.loads(request.config)["process"]
        name, cwd = process["args"][0], process["cwd"]
        try:
            os.makedirs(resolve(self._root, cwd), 0o755, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise RunError(f"the working directory {cwd} is a file in the image") from error
        if not request.has_volumes:
            check_program(self._root, name, search_path(process["env"]), cwd)
        config = os.path.join(self._directory, "config.json")
        with open(config, "w", encoding="utf-8") as file:
            file.write(request.config)
        take = self._channel.take_descriptor
        streams = () if process["terminal"] else (take(), take(), take())
        launched = launch(request, self._directory, process, streams)
        if launched.terminal < 0:
            self._channel.send(messages.Started(False))
        else:
            self._channel.send(messages.Started(True), (launched.terminal,))
            os.close(launched.terminal)
        return self._supervise(launched)

    def _supervise(self, launched: Launched) -> messages.Exited:
        """Pass signals on until the program ends; kill it if the other end goes."""
        woken, wake = os.pipe()
        for end in (woken, wake):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            while (code := _reap(launched.pid)) is None:
                if self._channel.has_message:
                    self._pass_on(launched.pid)
                    continue
                for key, _ in selector.select():
                    if key.fd == woken:
                        os.read(woken, 4096)
                    else:
                        self._pass_on(launched.pid)
        if launched.pipes is not None:
            launched.pipes.finish()
        return messages.Exited(code)

    def _pass_on(self, pid: int) -> None:
        while True:
            message = self._channel.receive()
            if message is None:
                os.kill(pid, signal.SIGKILL)
                # Its files can be removed only once it is gone.
                os.waitpid(pid, 0)
                raise _Gone
            if isinstance(message, messages.Signal):
                with suppress(ProcessLookupError):
                    os.kill(pid, message.number)
            if not self._channel.has_message:
                return


def _reap(program: int) -> int | None:
    """Reap all that ended; the program's exit code as a shell tells it, once it ended."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == program:
            result = os.waitstatus_to_exitcode(status)
            code = result if result >= 0 else 128 - result


if __name__ == "__main__":
    main(sys.argv[1:])
