# SPDX-License-Identifier: Apache-2.0
"""The process inside the namespaces: `worker SOCKET`.

It unpacks the image, starts the program, passes signals on and removes everything, because only
here do the files' mapped owners exist. It is process 1 of its pid namespace: nothing that it
started outlives it. When the socket closes, wherry is gone: the program is killed and the run's
directory removed, so that even a killed wherry leaves nothing.
"""

from __future__ import annotations

import errno
import gzip
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Any, BinaryIO, Final

from wherry.errors import WherryError
from wherry.fstree.unpack import Ownership, remove_tree, unpack_layer
from wherry.process.cancel import Cancelled, CancelToken
from wherry.sandbox import channel as messages
from wherry.sandbox import oci_runtime, syscalls
from wherry.sandbox.channel import Channel
from wherry.sandbox.executable import Unrunnable, check_program
from wherry.sandbox.mounts import Mount
from wherry.sandbox.request import RunError
from wherry.sandbox.rootpath import read_text, resolve
from wherry.sandbox.streams import Pipes

_NOT_EXECUTABLE: Final = (errno.EACCES, errno.ENOEXEC, errno.EISDIR, errno.EPERM)


class _Gone(Exception):  # noqa: N818 - not an error: whoever asked for the run is no more
    pass


class _Refused(Exception):  # noqa: N818 - carries an answer, not a fault
    def __init__(self, code: int, what: str, why: str = "") -> None:
        super().__init__(what)
        self.answer = messages.Failed(code, what, why)


def main(arguments: list[str]) -> None:
    """Serve the other end of the socket whose descriptor is the only argument."""
    signal.signal(signal.SIGCHLD, lambda *_: None)
    worker = Worker(Channel(socket.socket(fileno=int(arguments[0]))))
    with suppress(_Gone):
        worker.serve()
    # Not by return: a thread may still wait for the caller's stdin.
    os._exit(0)


class _Watch(CancelToken):
    """A token cancelled by the other end's going, looked for between two entries of a layer."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def check(self) -> None:
        if self._channel.is_gone:
            raise Cancelled


class Worker:
    """One run, from the check to the removal."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._directory = ""
        self._proc = False

    def serve(self) -> None:
        """Answer messages until the program ended, something failed or the other end is gone."""
        answer: messages.Message | None = None
        try:
            self._channel.send(self._check(self._expect(messages.Check)))
            self._channel.send(self._unpack(self._expect(messages.Unpack)))
            answer = self._run(self._expect(messages.Start))
        except _Refused as refused:
            answer = refused.answer
        except RunError as error:
            answer = messages.Failed(error.exit_code, error.what, error.why)
        except WherryError as error:
            answer = messages.Failed(error.exit_code, error.what, error.why)
        except OSError as error:
            answer = messages.Failed(125, "cannot set up the run", str(error))
        finally:
            if self._directory:
                with suppress(OSError):
                    remove_tree(self._directory)
        if answer is not None:
            self._channel.send(answer)

    def _expect(self, kind: type[Any]) -> Any:  # noqa: ANN401 - an instance of `kind`
        message = self._channel.receive()
        if not isinstance(message, kind):
            raise _Gone
        return message

    def _check(self, request: messages.Check) -> messages.Ready:
        self._directory = request.directory
        for path in request.leftovers:
            with suppress(OSError):
                remove_tree(path)
        root = os.path.join(request.directory, "rootfs")
        try:
            os.mkdir(root, 0o755)
            # Devices that an image may hold must stay dead files.
            syscalls.mount(root, root, flags=syscalls.MS_BIND)
            flags = syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_NODEV
            syscalls.mount("none", root, flags=flags | _kept_flags(root))
        except OSError as error:
            raise _Refused(3, "mounts are refused", str(error)) from error
        own_proc = _mount_proc()
        _close_cgroups()
        mounts = system_mounts(Mapping(request.mapping), request.initial, own_proc)
        problems: list[str] = []
        for runtime in request.runtimes:
            problem = self._probe(runtime, mounts)
            if not problem:
                return messages.Ready(own_proc, runtime, ())
            problems.append(f"{os.path.basename(runtime)}: {problem}")
        return messages.Ready(own_proc, "", tuple(problems))

    def _probe(self, runtime: str, mounts: tuple[Mount, ...]) -> str:
        program = shutil.which("true", path="/bin:/usr/bin")
        if program is None:
            return "no program `true` to try it with"
        bundle = os.path.join(self._directory, "probe")
        os.mkdir(bundle, 0o755)
        try:
            return oci_runtime.probe(runtime, bundle, mounts, program)
        finally:
            remove_tree(bundle)

    def _unpack(self, request: messages.Unpack) -> messages.Unpacked:
        owner = Ownership.KEEP if request.keep_owners else Ownership.IGNORE
        for layer in request.layers:
            with open(layer.descriptor, "rb") as blob:
                stream = gzip.open(blob) if layer.gzipped else blob
                try:
                    unpack_layer(stream, self._root, owner, cancel=_Watch(self._channel))
                except Cancelled:
                    raise _Gone from None
        return messages.Unpacked(
            read_text(self._root, "/etc/passwd"), read_text(self._root, "/etc/group")
        )

    def _run(self, request: messages.Start) -> messages.Exited:
        config = json.loads(request.config)
        process = config["process"]
        cwd = resolve(self._root, process["cwd"])
        try:
            os.makedirs(cwd, 0o755, exist_ok=True)
        except FileExistsError as error:
            raise _Refused(125, f"the working directory {process['cwd']} is a file") from error
        try:
            check_program(self._root, process)
        except Unrunnable as error:
            raise _Refused(error.code, f"cannot run {process['args'][0]!r}", error.why) from error
        with open(os.path.join(self._directory, "config.json"), "w", encoding="utf-8") as file:
            file.write(request.config)
        start = self._start_bundle if request.runtime else self._start_alone
        if process["terminal"]:
            pid = self._with_terminal(request, start)
            return messages.Exited(self._supervise(pid))
        mapped = None if request.remap else process["user"]["uid"]
        pipes = Pipes(request.streams, mapped)
        pid = start(request, pipes.inner)
        pipes.start()
        self._channel.send(messages.Started())
        code = self._supervise(pid)
        pipes.finish()
        return messages.Exited(code)
