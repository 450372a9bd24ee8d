# SPDX-License-Identifier: Apache-2.0
"""Runs an image: proves the rights, unpacks, plans, starts, and waits.

The process that calls this enters no namespace. A worker started by `unshare` does what needs
rights (see `wherry.sandbox.worker`); here the plan is made, and signals and terminal pass through.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import BinaryIO, NamedTuple

from wherry.errors import MachineError, UsageError, WherryError
from wherry.oci.canonical import canonical_json
from wherry.oci.image import Descriptor, Image
from wherry.oci.media import compression_of
from wherry.oci.platform import host_platform
from wherry.sandbox import channel as messages
from wherry.sandbox import mapping as mappings
from wherry.sandbox.blob_files import as_file, zstd_packages
from wherry.sandbox.mapping import HostFacts
from wherry.sandbox.mounts import Mount, plan_mounts
from wherry.sandbox.ports import published
from wherry.sandbox.process import WorkerProcess
from wherry.sandbox.request import Caller, RunError, RunRequest
from wherry.sandbox.rundir import RunDirectory, Workplace, leftovers, run_directory
from wherry.sandbox.runtime_probe import installed_runtimes
from wherry.sandbox.spec import (
    Program,
    command_line,
    environment,
    runtime_config,
    working_directory,
)
from wherry.sandbox.supervise import Supervisor
from wherry.sandbox.users import find_user

OpenLayer = Callable[[Descriptor], BinaryIO]


class RunPlan(NamedTuple):
    """Everything that will be done once the image is unpacked."""

    program: Program
    mounts: tuple[Mount, ...]
    runtime: str
    remap: bool
    readonly: bool

    def describe(self) -> tuple[str, ...]:
        """Lines for people, in the order of what happens."""
        how = os.path.basename(self.runtime) or "unshare"
        return (*(mount.describe() for mount in self.mounts), f"{self.program.describe()} ({how})")


class _Place(NamedTuple):
    """A worker that proved its rights."""

    worker: WorkerProcess
    mapping: mappings.Mapping
    facts: HostFacts
    ready: messages.Ready


def run_image(
    image: Image,
    open_layer: OpenLayer,
    workplace: Workplace,
    request: RunRequest,
    env: Mapping[str, str],
    caller: Caller,
) -> int:
    """Run the image's program to its end and return its exit code, 128 + n for signal n.

    `env` is the caller's environment, `open_layer` opens a layer's blob. Nothing of the run is
    left afterwards. Raises `MachineError` where this machine refuses, before anything is unpacked;
    `RunError` for docker's 125, 126 and 127; `Interrupted` before the program started.
    """
    _check_request(image, request, caller)
    supervisor = Supervisor(caller, interactive=request.interactive)
    with ExitStack() as stack:
        stack.enter_context(published(request.ports))
        directory = stack.enter_context(run_directory(workplace))
        with leftovers(workplace) as stale:
            place = _find_place(stack, supervisor, directory, stale, env.get("PATH", os.defpath))
        channel = place.worker.channel
        _send_layers(channel, image, open_layer, place.mapping)
        unpacked = supervisor.await_answer(place.worker, messages.Unpacked)
        plan = _plan(image, request, env, place, unpacked)
        _explain(plan, place, caller.say)
        config = runtime_config(plan.program, plan.mounts, readonly=plan.readonly)
        start = messages.Start(
            canonical_json(config).decode(), plan.runtime, plan.remap, bool(request.volumes)
        )
        return supervisor.run(place.worker, start, terminal=request.terminal)


def _check_request(image: Image, request: RunRequest, caller: Caller) -> None:
    if request.terminal and request.interactive and not os.isatty(caller.stdin):
        raise RunError(
            "the input device is not a TTY",
            hint="leave out -t where stdin is a pipe or a file",
        )
    command_line(image.config.run, request)
    working_directory(image.config.run, request)
    for layer in image.manifest.layers:
        try:
            compression_of(layer.media_type)
        except UsageError as error:
            raise RunError(error.what, why=error.why, hint=error.hint) from error
    platform = image.config.platform
    if platform.os and platform != host_platform():
        caller.say(f"the image is for {platform}, this machine is {host_platform()}")


def _find_place(
    stack: ExitStack,
    supervisor: Supervisor,
    directory: RunDirectory,
    stale: tuple[str, ...],
    search_path: str,
) -> _Place:
    """The best mapping whose worker can do its work here. Raises `MachineError`."""
    facts = mappings.read_facts(search_path)
    if not facts.unshare:
        raise mappings.refusal(facts, "there is no program `unshare`")
    runtimes = installed_runtimes(search_path)
    reasons = []
    for mapping in mappings.candidates(facts):
        words = mappings.namespace_command(mapping, facts.unshare)
        with ExitStack() as attempt:
            worker = attempt.enter_context(WorkerProcess(words, search_path, directory.lock))
            own = os.path.join(directory.path, mapping.name.lower())
            worker.channel.send(messages.Check(own, runtimes, stale, mapping.value, facts.initial))
            try:
                ready = supervisor.await_answer(worker, messages.Ready)
            except WherryError as error:
                if not isinstance(error, RunError | MachineError):
                    raise
                reasons.append(f"{mapping}: {error.why or error.what}")
                continue
            stack.push(attempt.pop_all())
            return _Place(worker, mapping, facts, ready)
    raise mappings.refusal(facts, "\n".join(reasons))


def _send_layers(
    channel: messages.Channel, image: Image, open_layer: OpenLayer, mapping: mappings.Mapping
) -> None:
    layers = image.layers
    with ExitStack() as stack:
        files = []
        for layer in layers:
            stream = stack.enter_context(open_layer(layer.descriptor))
            files.append(stack.enter_context(as_file(stream)).fileno())
        request = messages.Unpack(
            tuple(canonical_json(layer.descriptor.as_json()).decode() for layer in layers),
            tuple(str(layer.diff_id) for layer in layers),
            mapping is not mappings.Mapping.ONE,
            zstd_packages(),
        )
        channel.send(request, tuple(files))


def _plan(
    image: Image,
    request: RunRequest,
    env: Mapping[str, str],
    place: _Place,
    unpacked: messages.Unpacked,
) -> RunPlan:
    run = image.config.run
    user = find_user(request.user or run.user, unpacked.passwd, unpacked.group)
    program = Program(
        args=command_line(run, request),
        env=environment(run, request, env, user.home, os.uname().nodename),
        cwd=working_directory(run, request),
        user=user,
        terminal=request.terminal,
    )
    initial, own_proc = place.facts.initial, place.ready.own_proc
    mounts = plan_mounts(request, place.mapping, initial=initial, own_proc=own_proc)
    mapped = mappings.is_mapped(user.ids, place.mapping, place.facts)
    runtime = place.ready.runtime if mapped else ""
    return RunPlan(program, mounts, runtime, not mapped, request.readonly)


def _explain(plan: RunPlan, place: _Place, say: Callable[[str], None]) -> None:
    """One line where the program is held less tightly than a container."""
    if plan.runtime:
        return
    if plan.remap and place.mapping is mappings.Mapping.ONE:
        why = "only one user id can be mapped here (newuidmap and /etc/subuid would give more)"
    elif plan.remap:
        why = f"user id {plan.program.user.uid} is outside the mapped ids"
    elif place.ready.problems:
        why = "no OCI runtime works here (" + "; ".join(place.ready.problems) + ")"
    else:
        why = "there is no OCI runtime here (runc or crun)"
    say(f"{why}: running in a plain namespace, with less isolation")
