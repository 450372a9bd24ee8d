# SPDX-License-Identifier: Apache-2.0
"""An ExecOp with its inputs as what the namespace worker wants: roots, directories, secrets.

Imported only where a step runs.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Final, NamedTuple

from wherry.engines.local.files import FileSteps
from wherry.engines.local.mount_files import NewMount, mount_name, stored_name
from wherry.engines.local.results import Built, Held, Result
from wherry.engines.local.running import Running
from wherry.engines.local.storage import Sharing
from wherry.fstree.resolve import resolve
from wherry.fstree.tree import Directory
from wherry.graph.ops import ExecMount, ExecOp, MountKind
from wherry.sandbox.step_spec import StepMount, StepSpec
from wherry.solver.model import Step

_SHARING: Final[dict[str, Sharing]] = {
    "shared": "shared",
    "private": "private",
    "locked": "locked",
}


class Given(NamedTuple):
    """An op, its inputs, and what the steps of a build share."""

    op: ExecOp
    inputs: tuple[Result, ...]
    shared: FileSteps
    running: Running


class Specified:
    """A step as what the worker wants; what is held ends with `stack`."""

    def __init__(self, given: Given, step: Step, stack: ExitStack) -> None:
        self._op, self._inputs, self._shared, self._running = given
        self._step = step
        self._stack = stack
        self._caches: dict[str, str] = {}
        self._secret_env: list[tuple[str, bytes]] = []

    def spec(self) -> StepSpec:
        """The step."""
        op = self._op
        self._hold_caches(op.mounts)
        mounts = [self._mount(mount) for mount in op.mounts]
        return StepSpec(
            args=op.args,
            env=op.env,
            cwd=op.cwd or "/",
            user=op.user,
            hostname=op.hostname,
            network=op.network or "default",
            insecure=op.security == "insecure",
            mounts=tuple(mount for mount in mounts if mount is not None),
            hosts=op.hosts,
            shm_size=op.shm_size,
            ulimits=op.ulimits,
            pipes=op.heredocs,
            proxy=op.proxy,
            certificates=self._running.choices.certificates,
            secret_env=tuple(self._secret_env),
        )

    def _mount(self, mount: ExecMount) -> StepMount | None:
        match mount.kind:
            case MountKind.BIND:
                return self._bind(mount)
            case MountKind.CACHE:
                return self._cache(mount)
            case MountKind.TMPFS:
                return StepMount("tmpfs", mount.target, read_only=mount.read_only, size=mount.size)
            case MountKind.SECRET:
                return self._secret(mount)
            case MountKind.SSH:
                return self._agent(mount)

    def _bind(self, mount: ExecMount) -> StepMount:
        source = self._inputs[mount.input]
        given = StepMount("bind", mount.target, read_only=mount.read_only)
        if isinstance(source, Held):
            if mount.read_only:
                path = self._running.lend(source, mount.selector, self._step)
            else:
                path = self._running.lend_alone(source, mount.selector, self._step)
                self._stack.callback(self._running.drop, os.path.dirname(path))
            return given._replace(directory=path)
        lowers = self._lowers(source)
        return given._replace(lowers=lowers, selector=mount.selector)

    def _lowers(self, source: Built) -> tuple[str, ...]:
        fetch = self._shared.fetch
        return self._running.directories(source.stack, fetch, self._step)

    def _hold_caches(self, mounts: tuple[ExecMount, ...]) -> None:
        """Hold the cache mounts, always in one order: steps must not wait for each other."""
        named = {
            self._cache_name(mount): mount for mount in mounts if mount.kind is MountKind.CACHE
        }
        for name, mount in sorted(named.items()):
            if self._running.mounts is not None:
                self._running.mounts.used(mount, self._mount_name(mount))
            # Two mounts of one step with the same directory hold it once.
            held = self._running.storage.mounts.hold(
                name,
                _SHARING[mount.sharing or "shared"],
                self._step.cancel.check,
                lambda path, mount=mount: self._begin(mount, path),  # type: ignore[misc] # bound now
            )
            self._caches[name] = self._stack.enter_context(held).path

    def _cache_name(self, mount: ExecMount) -> str:
        """What tells this cache from others here."""
        return stored_name(self._mount_name(mount), self._running.namespace().place)

    def _mount_name(self, mount: ExecMount) -> str:
        """What tells this cache from others, wherever it is."""
        name = mount_name(mount)
        if mount.input >= 0:
            name += f"\0{self._shared.shown(mount, self._inputs[mount.input])}"
        return name

    def _cache(self, mount: ExecMount) -> StepMount:
        path = self._caches[self._cache_name(mount)]
        return StepMount("cache", mount.target, directory=path, read_only=mount.read_only)

    def _begin(self, mount: ExecMount, path: str) -> None:
        """Fill a new cache mount."""
        namespace, arriving = self._running.namespace(), self._running.mounts
        new = NewMount(mount, self._mount_name(mount), path)
        if arriving is not None and arriving.fill(new, namespace, self._step):
            return
        source = self._inputs[mount.input] if mount.input >= 0 else None
        if mount.mode is not None and not mount.selector.strip("/"):
            # As in BuildKit: an owner or a mode begins with an empty directory.
            source = None
        mode = 0o755 if mount.mode is None else mount.mode
        if isinstance(source, Built) and source.stack:
            owner = self._owner_of(source, mount)
            namespace.copy_out(self._lowers(source), mount.selector, path, owner)
            return
        if isinstance(source, Held):
            lent = self._running.lend_alone(source, mount.selector, self._step)
            os.rmdir(path)
            os.rename(lent, path)
            return
        namespace.make_directory(path, mount.uid, mount.gid, mode)

    def _owner_of(self, source: Built, mount: ExecMount) -> tuple[int, int, int]:
        """User, group and mode of the directory that a cache begins with."""
        files = self._shared.files_of(source)
        top = files.entry(resolve(files, mount.selector.strip("/")))
        return (top.uid, top.gid, top.mode) if isinstance(top, Directory) else (0, 0, 0o755)

    def _secret(self, mount: ExecMount) -> StepMount | None:
        choices = self._running.choices
        value = choices.secret(mount.id)
        if value is None:
            if mount.required:
                raise choices.no_secret(mount.id)
            if mount.env:
                # As in BuildKit: set, and empty.
                self._secret_env.append((mount.env, b""))
            return None
        self._running.hide(value)
        if mount.env:
            self._secret_env.append((mount.env, value))
        if not mount.target:
            return None
        mode = 0o400 if mount.mode is None else mount.mode
        return StepMount(
            "secret", mount.target, mode=mode, uid=mount.uid, gid=mount.gid, data=value
        )

    def _agent(self, mount: ExecMount) -> StepMount | None:
        choices = self._running.choices
        socket = choices.agent(mount.id)
        if socket is None:
            if mount.required:
                raise choices.no_agent(mount.id)
            return None
        mode = 0o600 if mount.mode is None else mount.mode
        return StepMount(
            "ssh", mount.target, mode=mode, uid=mount.uid, gid=mount.gid, socket=socket
        )
