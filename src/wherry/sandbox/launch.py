# SPDX-License-Identifier: Apache-2.0
"""Starts the prepared bundle: by an OCI runtime or by `enter`, with pipes or with a terminal.

Runs in the worker. Whatever the way, the program ends up as a child of the worker and as process
1 of a pid namespace of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, NamedTuple

from wherry.sandbox import oci_runtime, syscalls
from wherry.sandbox.channel import Start
from wherry.sandbox.executable import why_not
from wherry.sandbox.request import RunError
from wherry.sandbox.streams import Pipes


class Launched(NamedTuple):
    """A running program: its process id, and its terminal's main side or its pipes."""

    pid: int
    terminal: int = -1
    pipes: Pipes | None = None


def launch(
    request: Start, bundle: str, process: dict[str, Any], streams: tuple[int, ...]
) -> Launched:
    """Start the program; `process` is that object of the config. Raises `RunError`.

    `streams` are the caller's, unused with a terminal.
    """
    if process["terminal"]:
        if request.runtime:
            return _runtime_with_terminal(request, bundle)
        return _alone_with_terminal(request, bundle, process)
    # Without a mapping of its own the user's id exists here, and the pipes can be the user's.
    pipes = Pipes(streams, None if request.remap else process["user"]["uid"])
    if request.runtime:
        pid = oci_runtime.create(request.runtime, bundle, pipes.inner, terminal=False)
        pipes.start()
        oci_runtime.start(request.runtime, bundle)
    else:
        pid = enter(bundle, pipes.inner, process, remap=request.remap)
        pipes.start()
    return Launched(pid, pipes=pipes)


def _runtime_with_terminal(request: Start, bundle: str) -> Launched:
    null = os.open(os.devnull, os.O_RDWR)
    try:
        with oci_runtime.Console(bundle) as console:
            streams = (null, null, null)
            pid = oci_runtime.create(request.runtime, bundle, streams, terminal=True)
            terminal = console.receive()
        oci_runtime.start(request.runtime, bundle)
    finally:
        os.close(null)
    return Launched(pid, terminal)


def _alone_with_terminal(request: Start, bundle: str, process: dict[str, Any]) -> Launched:
    terminal, inner = os.openpty()
    if not request.remap:
        os.fchown(inner, process["user"]["uid"], -1)
    try:
        pid = enter(bundle, (inner, inner, inner), process, remap=request.remap)
    finally:
        os.close(inner)
    return Launched(pid, terminal)


def enter(
    bundle: str, streams: tuple[int, int, int], process: dict[str, Any], *, remap: bool
) -> int:
    """Start the program of the bundle without an OCI runtime; returns its process id.

    `streams` become the program's, `process` is that object of its config. With `remap` the only id
    here becomes the user's. Raises `RunError`.
    """
    errors, errors_end = os.pipe()
    command = [sys.executable, "-S", "-P", "-m", "wherry.sandbox.enter", bundle, str(errors_end)]
    command += ["1" if flag else "0" for flag in (remap, process["terminal"])]
    with syscalls.new_pid_namespace():
        # The worker's own environment, which wherry made for it; the program gets its own.
        child = subprocess.Popen(
            command,
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            pass_fds=(errors_end,),
        )
    os.close(errors_end)
    with open(errors, "rb") as file:
        report = file.read()
    if report:
        child.wait()
        raise _refused(json.loads(report), process["args"][0])
    # Whoever supervises reaps it; Popen must not believe that it still runs.
    child.returncode = 0
    return child.pid


def _refused(report: dict[str, Any], name: str) -> RunError:
    known = why_not(report["errno"], name) if report["at_exec"] else None
    if known is not None:
        return known
    why = f"{report['what']}: {report['path']}" if report["path"] else str(report["what"])
    return RunError("cannot set up the program's surroundings", why=why)
