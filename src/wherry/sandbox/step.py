# SPDX-License-Identifier: Apache-2.0
"""Runs one RUN step in the namespace worker, from the mounts to what is left to clean up.

Called in a thread of the worker, many at once. The program runs in an OCI runtime, or in
`wherry.sandbox.enter` where there is none; either way it is process 1 of a pid namespace of its
own and a child of the worker, so with its end everything that it started has ended. Everything
that a step needs beside its root lies in a bundle on a tmpfs of the worker's own.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Final

from wherry.errors import MachineError
from wherry.process.cancel import CancelToken
from wherry.sandbox import seccomp, syscalls
from wherry.sandbox.executable import check_program
from wherry.sandbox.go_caches import Chosen, choose
from wherry.sandbox.go_copies import has_copies
from wherry.sandbox.go_harvest import Harvested, harvest, has_loose_modules
from wherry.sandbox.go_indexes import index_ids
from wherry.sandbox.go_modules import is_tree, names_of
from wherry.sandbox.go_trees import touches
from wherry.sandbox.hosts_files import HOSTNAME
from wherry.sandbox.mapping import Mapping, is_mapped
from wherry.sandbox.mounts import Mount
from wherry.sandbox.request import CannotExecute, ProgramNotFound, RunError
from wherry.sandbox.spec import (
    CAPABILITIES,
    Confinement,
    Device,
    Program,
    runtime_config,
    search_path,
)
from wherry.sandbox.step_mounts import make_mount_points, plan_mounts
from wherry.sandbox.step_process import StepProcess
from wherry.sandbox.step_program import make_working_directory, step_program
from wherry.sandbox.step_spec import Executed, StepSpec, Surroundings, Trees
from wherry.sandbox.stubs import Stubs

# Devices beside the usual ones for `--security=insecure`, as far as this machine has them.
_DEVICES: Final = (
    "kmsg", "cuse", "fuse", "kvm", "net/tun", "loop-control", *(f"loop{n}" for n in range(8)),
)  # fmt: skip


def run_step(
    surroundings: Surroundings,
    lowers: tuple[str, ...],
    staged: str,
    spec: StepSpec,
    streams: tuple[int, int, int],
    cancel: CancelToken,
) -> Executed:
    """Run the step in the root `lowers` and leave what it changed in `staged`.

    `streams` stay the caller's. What cannot be executed ends with 126 or 127 and a line on the
    step's stderr. Raises `Cancelled` once everything of a cancelled step has ended, `RunError`
    where its surroundings cannot be made, `MachineError` where this machine lacks the rights, and
    `OSError`.
    """
    _check_rights(surroundings, spec)
    cancel.check()
    trees = surroundings.trees
    with _bundle(surroundings) as hidden:
        chosen = _chosen(trees, lowers, spec, hidden)
        every = (*chosen.lowers, *lowers)
        with trees.root(every, staged) as root, _bundle(surroundings) as bundle:
            code = _Step(surroundings, spec, root, bundle).run(streams, cancel)
        used, notes = _harvested(trees, every, staged, chosen, spec, cancel)
        change = trees.measure(every, staged, _Closed(chosen))
    return Executed(
        code,
        change.empty,
        change.size,
        notes,
        outside=tuple(cache.path for cache in chosen.caches),
        refused=chosen.refused,
        seen=chosen.seen,
        used=used,
    )


def _chosen(trees: Trees, lowers: tuple[str, ...], spec: StepSpec, scratch: str) -> Chosen:
    """The Go caches that the step sees."""
    if not spec.go_caches:
        return Chosen((), "")
    with trees.tree(lowers, writable=False) as plain:
        return choose(spec, plain, scratch)


def _harvested(
    trees: Trees,
    lowers: tuple[str, ...],
    staged: str,
    chosen: Chosen,
    spec: StepSpec,
    cancel: CancelToken,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Have the Go caches take what the step added to them.

    Gives the actions that it used, and lines for the user where a cache cannot take anything.
    """
    if not chosen.filled:
        return (), ()
    top = os.path.join(staged, "fs")
    used: list[str] = []
    notes: list[str] = []
    # Without a module cache nobody knows what modules are like.
    modules = ""
    kept: tuple[str, ...] = ()
    own = [f"{lower}/fs" for lower in lowers if lower not in chosen.lowers]
    with trees.tree(lowers, writable=False) as below:
        # What a step has made with a Go that it has changed itself is of no use to others.
        is_patched = touches(top, below, chosen.goroots)
        goroots = () if is_patched else chosen.goroots

        def trimmed() -> frozenset[bytes]:
            places = tuple(cache.path for cache in chosen.caches)
            return frozenset() if has_copies(spec, below, top, places) else names_of(kept)

        for cache in sorted(chosen.filled, key=lambda cache: cache.kind != "modules"):
            indexes: dict[str, str] = {}
            # A script may change a module, have Go look at it, and change it back.
            if modules and chosen.is_plain:
                indexes = index_ids(below, chosen.goroots, modules, kept)
            settled = "" if is_patched else modules
            step = Harvested(top, below, trees.opaque, settled, trimmed, indexes)
            taken = harvest(cache, step, goroots, cancel)
            used += taken.used
            if taken.failure:
                notes.append(f"the Go cache of {cache.path} was not filled: {taken.failure}")
            if cache.kind == "modules" and not has_loose_modules(cache, (top, *own)):
                modules, kept = cache.path, chosen.kept
    return tuple(used), tuple(notes)


class _Closed:
    """Tells the directories of a root in which nothing may appear once the step has ended.

    Those are the trees of modules, of which what the caches have may be more than the step left.
    """

    def __init__(self, chosen: Chosen) -> None:
        self._tops = [f"{cache.path}/" for cache in chosen.caches if cache.kind == "modules"]

    def __call__(self, path: str) -> bool:
        return any(path.startswith(top) and is_tree(path[len(top) :]) for top in self._tops)


class _Step:
    """One step whose root is mounted and whose bundle is there."""

    def __init__(self, surroundings: Surroundings, spec: StepSpec, root: str, bundle: str) -> None:
        self._surroundings = surroundings
        self._spec = spec
        self._root = root
        self._bundle = bundle

    def run(self, streams: tuple[int, int, int], cancel: CancelToken) -> int:
        """Run the program to its end; the root then holds no mount point that it lacked."""
        program = _existing(self._surroundings, step_program(self._spec, self._root))
        stubs = Stubs(self._root)
        with ExitStack() as stack:
            # Last of all, when nothing is mounted there any more.
            stack.callback(stubs.remove)
            mounts = plan_mounts(stack, self._surroundings, self._spec, self._root, self._bundle)
            make_mount_points(stubs, self._root, mounts)
            make_working_directory(self._root, program)
            try:
                self._check_program(program)
                self._write_config(program, mounts)
                process = StepProcess(self._surroundings.runtime, self._bundle, program)
                return process.run(streams, cancel)
            except (ProgramNotFound, CannotExecute) as error:
                _tell(streams[2], error, program.args[0])
                return error.exit_code
            except RunError as error:
                # A runtime names places where the worker has them.
                why = error.why.replace(f"{self._root}/", "/").replace(self._root, "/")
                raise RunError(error.what, why=why, hint=error.hint) from None

    def _check_program(self, program: Program) -> None:
        # A mount may bring the program or hide it; then only the attempt tells.
        if not self._spec.mounts and not self._spec.pipes:
            check_program(self._root, program.args[0], search_path(program.env), program.cwd)

    def _write_config(self, program: Program, mounts: tuple[Mount, ...]) -> None:
        confinement = self._confinement()
        config = runtime_config(program, mounts, confinement=confinement)
        path = os.path.join(self._bundle, "config.json")
        # It may hold secrets; the bundle lies in memory.
        with open(path, "x", encoding="ascii") as file:
            json.dump(config, file)

    def _confinement(self) -> Confinement:
        spec = self._spec
        common = Confinement(
            root=self._root,
            hostname=spec.hostname or HOSTNAME,
            network=spec.network == "none",
            limits=self._limits(),
        )
        if spec.insecure:
            return common._replace(
                capabilities=syscalls.held_capabilities(),
                ambient=True,
                masked=(),
                read_only=(),
                devices=tuple(_devices()),
            )
        if not self._surroundings.seccomp:
            return common
        return common._replace(seccomp=seccomp.profile(os.uname().machine, CAPABILITIES))

    def _limits(self) -> tuple[tuple[str, int, int], ...]:
        rows = (*self._surroundings.limits, *self._spec.ulimits)
        return tuple({row[0]: row for row in rows}.values())


def _check_rights(surroundings: Surroundings, spec: StepSpec) -> None:
    if not spec.insecure:
        return
    if surroundings.mapping is not Mapping.ROOT or not surroundings.facts.initial:
        raise MachineError(
            "cannot run a step with --security=insecure",
            why="it needs all rights over this machine, which only its root has",
            hint="run the build as root, or leave out --security=insecure",
        )


def _existing(surroundings: Surroundings, program: Program) -> Program:
    """The program without groups that do not exist here.

    Raises `MachineError` for a user that does not: what such a step writes would belong to somebody
    else.
    """
    user = program.user

    def exists(*ids: int) -> bool:
        return is_mapped(frozenset(ids), surroundings.mapping, surroundings.facts)

    if not exists(user.uid, user.gid):
        raise MachineError(
            f"cannot run a step as user {user.uid}:{user.gid}",
            why=f"it runs in a {surroundings.mapping}, in which that id does not exist",
            hint="`wherry doctor` tells how to get subordinate id ranges",
        )
    return replace(program, user=user._replace(groups=tuple(filter(exists, user.groups))))


def _tell(stderr: int, error: ProgramNotFound | CannotExecute, name: str) -> None:
    """One line as a shell would write it; the step's output is where one looks for it."""
    what = error.why or error.what
    # A runtime's words begin with its own story.
    what = what.rpartition(f'exec: "{name}": ')[2]
    os.write(stderr, f'exec: "{name}": {what}\n'.encode("utf-8", "replace"))


@contextmanager
def _bundle(surroundings: Surroundings) -> Iterator[str]:
    path = tempfile.mkdtemp(prefix="step-", dir=surroundings.bundles)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _devices() -> Iterator[Device]:
    for name in _DEVICES:
        path = f"/dev/{name}"
        try:
            found = os.stat(path)
        except OSError:
            continue
        kind = "b" if stat.S_ISBLK(found.st_mode) else "c"
        yield Device(path, kind, os.major(found.st_rdev), os.minor(found.st_rdev))
