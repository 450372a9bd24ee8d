# SPDX-License-Identifier: Apache-2.0
"""The namespace worker: `namespace_worker SOCKET`, process 1 of its own namespaces.

It alone touches snapshots, because only here do their files' mapped owners exist. One thread reads
requests; each is answered by a thread of its own in a mount namespace of its own, so that no
request sees another's roots and none leaves a mount. When the socket closes wherry is gone: all
processes here are killed, what they wrote half is removed, and the namespaces end with this one.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from wherry.errors import WherryError
from wherry.fstree.removal import remove_tree
from wherry.process.cancel import Cancelled, CancelToken
from wherry.sandbox import syscalls
from wherry.sandbox.exchange import Exchange, Message
from wherry.sandbox.mapping import Mapping
from wherry.sandbox.mounts import system_mounts
from wherry.sandbox.own_mounts import close_cgroups, mount_proc
from wherry.sandbox.runtime_probe import Found, find_runtime
from wherry.sandbox.serving import Serving
from wherry.sandbox.serving_facts import parse_facts
from wherry.sandbox.step_spec import Surroundings
from wherry.sandbox.trees import Trees, probe_overlay

Fields = dict[str, Any]
_END_SECONDS: Final = 20.0
_USUAL_COUNT: Final = 65535  # of the 65536 that useradd grants: ids here end with 65535
_DEEP: Final = 6000  # Python frames: directories nest deeper than its usual limit


def main(arguments: list[str]) -> None:
    """Serve the other end of the socket whose descriptor is the only argument."""
    os.umask(0o022)
    sys.setrecursionlimit(_DEEP)
    # The kernel keeps it from process 1 then, and what is started here has it as usual.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if os.getpid() != 1:
        # Without a pid namespace, what an OCI runtime starts would go to another process.
        syscalls.adopt_orphans()
    end = socket.socket(fileno=int(arguments[0]))
    end.set_inheritable(False)
    Worker(Exchange(end)).serve()
    # Not by return: a thread may still be at work.
    os._exit(0)


class Worker:
    """Reads requests until the other end is gone."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._running: dict[int, tuple[threading.Thread, CancelToken]] = {}
        self._lock = threading.Lock()
        self._serving: Serving | None = None
        self._directory = ""

    def serve(self) -> None:
        """Answer everything, then clean up."""
        while (message := self._exchange.receive()) is not None:
            if message.kind == "cancel":
                self._cancel(message.fields["request"])
            elif self._serving is None:
                self._answer(message, self._begin)
            elif message.kind == "open":
                # Nothing is mounted for it, and it takes less time than a thread.
                self._answer(message, self._serving.open)
            else:
                self._start(message, self._serving)
        self._end()

    def _start(self, message: Message, serving: Serving) -> None:
        token = CancelToken()

        def work() -> None:
            def serve(fields: Fields) -> Fields | Message:
                # Other requests' mounts are none of its business, and its own go with it.
                syscalls.unshare(syscalls.CLONE_NEWNS)
                return serving.serve(message.kind, fields, message.descriptors, token)

            self._answer(message, serve)
            with self._lock:
                self._running.pop(message.number, None)

        thread = threading.Thread(target=work, daemon=True)
        with self._lock:
            self._running[message.number] = (thread, token)
        thread.start()

    def _cancel(self, number: int) -> None:
        with self._lock:
            found = self._running.get(number)
        if found is not None:
            found[1].cancel()

    def _answer(self, message: Message, serve: Callable[[Fields], Fields | Message]) -> None:
        """Send what `serve` returns or raises, and close what came along."""
        try:
            try:
                answer = serve(message.fields)
            finally:
                for descriptor in message.descriptors:
                    with suppress(OSError):
                        os.close(descriptor)
        except BaseException as error:  # noqa: BLE001 - a thread's boundary: the other end decides
            answer = failure(error)
        if isinstance(answer, dict):
            answer = Message(message.number, "done", answer)
        self._exchange.send(answer._replace(number=message.number))
        for descriptor in answer.descriptors:
            os.close(descriptor)

    def _begin(self, fields: Fields) -> Fields:
        """Prove the rights, find out what works, and get ready."""
        self._directory = directory = fields["directory"]
        os.makedirs(directory, 0o700, exist_ok=True)
        memory = os.path.join(directory, "memory")
        os.makedirs(memory, 0o700, exist_ok=True)
        # The first of all mounts, so it also proves that mounts are allowed.
        syscalls.mount("tmpfs", memory, "tmpfs", syscalls.MS_NODEV | syscalls.MS_NOSUID, "mode=755")
        own_proc = mount_proc()
        close_cgroups()
        facts = parse_facts(fields["facts"])
        mapping = Mapping(fields["mapping"])
        user = mapping is not Mapping.ROOT or not facts.initial
        overlay = probe_overlay(directory, user=user) if fields["overlay"] else None
        found = Found(**fields["known"]) if fields["known"] else None
        if os.getpid() == 1 and not own_proc:
            # A runtime looks its processes up in /proc, where they have other numbers.
            found = Found(problems=("an OCI runtime needs to see its processes in /proc",))
        if found is None:
            mounts = system_mounts(mapping, facts.initial, own_proc)
            found = find_runtime(tuple(fields["runtimes"]), memory, mounts)
        if fields["packages"]:
            # Last, so that nothing else there takes the place of a module of Python's.
            sys.path.append(fields["packages"])
        trees = Trees(overlay, memory, directory)
        files = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._serving = Serving(
            Surroundings(
                runtime=found.runtime,
                mapping=mapping,
                facts=facts,
                own_proc=own_proc,
                seccomp=found.seccomp,
                bundles=memory,
                trees=trees,
                # Deep trees raise the worker's own later, and steps would inherit that.
                limits=(("nofile", *files),),
            ),
            trees,
        )
        return {
            "kind": "whole" if overlay is None else "overlay",
            "own_proc": own_proc,
            **found._asdict(),
            "users": _outer_ids("uid_map") if user else "",
            "groups": _outer_ids("gid_map") if user else "",
        }

    def _end(self) -> None:
        with self._lock:
            running = list(self._running.values())
        for _, token in running:
            token.cancel()
        if os.getpid() == 1:
            # Everything in this pid namespace; what was started here must not write any more.
            with suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        for thread, _ in running:
            thread.join(_END_SECONDS)
        if self._directory:
            with suppress(OSError):
                syscalls.unmount(os.path.join(self._directory, "memory"))
            with suppress(OSError):
                remove_tree(self._directory)


def failure(error: BaseException) -> Message:
    """The answer that stands for an exception; no values of a step can be in it."""
    if isinstance(error, Cancelled):
        return Message(0, "cancelled", {})
    if isinstance(error, WherryError):
        fields: Fields = {"class": type(error).__name__, "what": error.what, "why": error.why,
                          "hint": error.hint, "code": error.exit_code}  # fmt: skip
        return Message(0, "failed", fields)
    if isinstance(error, OSError):
        path = error.filename
        fields = {"errno": error.errno, "why": error.strerror or "",
                  "path": os.fsdecode(path) if isinstance(path, str | bytes) else ""}  # fmt: skip
        return Message(0, "refused", fields)
    # The words of an unexpected error might be a secret's.
    lines = "".join(traceback.format_tb(error.__traceback__))
    return Message(0, "fault", {"why": f"{lines}{type(error).__name__}"})


def _outer_ids(name: str) -> str:
    """The outer ids of the subordinate ones; of the only one where there are no others."""
    with open(f"/proc/self/{name}", encoding="ascii") as file:
        rows = [tuple(map(int, line.split())) for line in file]
    subordinate = rows[1:] or rows
    return ",".join(
        str(outer) if count == _USUAL_COUNT else f"{outer}+{count}"
        for _, outer, count in subordinate
    )


if __name__ == "__main__":
    main(sys.argv[1:])
