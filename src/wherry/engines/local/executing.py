# SPDX-License-Identifier: Apache-2.0
"""The executor of ExecOp: RUN.

A step is keyed by its op, the identity of the root that it runs in and the contents of what its
mounts show; secrets, agents and cache mounts count for nothing there, as in BuildKit. Of equal
steps, in this build or in another one at the same time, one runs and the others take its result.
"""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO, Final

from wherry.engines.local.files import FileSteps, built
from wherry.engines.local.results import Built, Change, Held, Result, root_digest
from wherry.engines.local.running import Running
from wherry.engines.local.storage import CacheRecords, Sharing
from wherry.errors import BuildError, MachineError
from wherry.graph.keys import CacheKey, content_key, definition_key
from wherry.graph.ops import Copy, ExecMount, ExecOp, MountKind
from wherry.oci.digest import Digest, sha256
from wherry.solver.model import Step

if TYPE_CHECKING:
    from wherry.sandbox.step_spec import Executed, StepMount, StepSpec

_SHARING: Final[dict[str, Sharing]] = {
    "shared": "shared",
    "private": "private",
    "locked": "locked",
}
_LAST_LINES: Final = 20
_SHELL: Final = ("/bin/sh",)
_LONGEST_LINE: Final = 1 << 16
# Shorter ones would hide words of no importance all over the output.
_SHORTEST_HIDDEN: Final = 6


class StepFailed(BuildError):
    """A command ended with a code that is not 0; `op` is what was run.

    Where it was asked for, `built` is the root that it left, and `shell` runs a shell there on
    three streams, until it ends; it gives the shell's exit code.
    """

    def __init__(self, what: str, *, why: str, hint: str, op: ExecOp) -> None:
        super().__init__(what, why=why, hint=hint)
        self.op = op
        self.built: Built | None = None
        self.shell: Callable[[tuple[int, int, int]], int] | None = None


@dataclass(frozen=True, slots=True)
class ExecOperation:
    """Runs a command in a root; its result is what that changed."""

    op: ExecOp
    fresh: bool
    shared: FileSteps
    running: Running
    # The content keys that were worked out, for `run`.
    keys: dict[tuple[Result, ...], CacheKey] = field(default_factory=dict, compare=False)

    def definition(self, inputs: tuple[Digest, ...]) -> CacheKey | None:
        """The op and the keys of its inputs, where they have any."""
        return definition_key(_keyed(self.op), inputs)

    def content(self, inputs: tuple[Result, ...]) -> CacheKey | None:
        """The op, the root, and what its mounts select; raises `NotFound`."""
        digests = [built(inputs[0]).root_digest]
        mounts = (mount for mount in self.op.mounts if mount.input >= 0)
        digests += [self.shown(mount, inputs[mount.input]) for mount in mounts]
        key = content_key(_keyed(self.op), tuple(digests))
        self.keys[inputs] = key
        return key

    def shown(self, mount: ExecMount, source: Result) -> Digest:
        """What a mount shows of its source."""
        if isinstance(source, Built) and not source.stack:
            return sha256(b"empty")
        start = Copy(mount.input, mount.selector or "/", "/", literal=True)
        return self.shared.selected(start, source)

    def run(self, inputs: tuple[Result, ...], step: Step) -> Result:
        """Run the command; raises `StepFailed`, `MachineError` where this machine cannot."""
        key = self.keys.get(inputs)
        if key is None or self.fresh or not self.shared.settings.reuse:
            return self._run(inputs, step)
        shared = self.shared
        with shared.storage.snapshots.lock(f"run-{key.digest.hex}", step.cancel.check):
            # Whoever ran it meanwhile has recorded it before letting go.
            records = CacheRecords(shared.storage, shared.settings)
            found = records.lookup(key)
            if found is not None:
                step.remark("run by another build")
                return found
            result = self._run(inputs, step)
            records.save(key, result)
            return result

    def _run(self, inputs: tuple[Result, ...], step: Step) -> Built:
        self._refuse()
        storage, running = self.shared.storage, self.running
        root = built(inputs[0])
        lowers = running.directories(root.stack, self.shared.fetch, step)
        snapshots = storage.snapshots
        with ExitStack() as stack:
            spec, secrets = _Specified(self, inputs, step, stack).spec()
            staged = snapshots.stage()
            try:
                executed, last = self._execute(lowers, staged, spec, step, secrets)
                self._check(executed, last)
                change = _kept(executed, staged, root, running)
            except BaseException:
                running.drop(staged)
                raise
        for note in executed.notes:
            running.say(note)
        result = Built((), change.size, below=root.stack, change=change)
        if executed.code != 0:
            error = self._failed(executed, last)
            error.built = result
            error.shell = lambda streams: self._shell(result, inputs, step, streams)
            raise error
        return result

    def _shell(
        self, left: Built, inputs: tuple[Result, ...], step: Step, streams: tuple[int, int, int]
    ) -> int:
        """Run a shell in the root that a failed step left, with all that the step had."""
        # The step's own token was cancelled with the failure.
        step = Step(int(step.id), step.name, lambda _event: None, self.shared.cancel)
        lowers = self.running.directories(left.stack, self.shared.fetch, step)
        snapshots = self.shared.storage.snapshots
        with ExitStack() as stack:
            spec, _ = _Specified(self, inputs, step, stack).spec()
            spec = spec._replace(args=_SHELL, terminal=os.isatty(streams[0]))
            staged = snapshots.stage()
            stack.callback(self.running.drop, staged)
            namespace = self.running.namespace()
            return namespace.execute(lowers, staged, spec, streams, step.cancel).code

    def _check(self, executed: Executed, last: tuple[str, ...]) -> None:
        """Raise for a command that failed, unless what it left is wanted."""
        if executed.code != 0 and not self.running.keep_failed:
            raise self._failed(executed, last)

    def _refuse(self) -> None:
        from wherry.sandbox.emulation import runnable  # noqa: PLC0415 - only where a step runs

        for name, required in self.op.devices:
            if required:
                raise BuildError(f"RUN --device={name} is not supported",
                                 hint="remove --device, or add required=false")  # fmt: skip
        why = runnable(self.op.platform)
        if why:
            raise MachineError(f"cannot run programs for {self.op.platform} here", why=why)

    def _execute(
        self,
        lowers: tuple[str, ...],
        staged: str,
        spec: StepSpec,
        step: Step,
        secrets: tuple[bytes, ...],
    ) -> tuple[Executed, tuple[str, ...]]:
        from wherry.sandbox.request import RunError  # noqa: PLC0415 - only where a step runs

        namespace = self.running.namespace()
        with _Output(step.output, secrets) as output:
            streams = (output.null, output.end, output.end)
            try:
                executed = namespace.execute(lowers, staged, spec, streams, step.cancel)
            except RunError as error:
                # Docker's codes are for `wherry run`; here the user's own build failed.
                hint = _HINTS.get(error.hint, error.hint)
                raise BuildError(error.what, why=error.why, hint=hint) from error
        return executed, tuple(output.last)

    def _failed(self, executed: Executed, last: tuple[str, ...]) -> StepFailed:
        code = executed.code
        reason = _REASONS.get(code, "")
        return StepFailed(
            f"the command failed with exit code {code}{reason}",
            why="\n".join(last),
            hint="\n".join(filter(None, (self._owners_hint(), f"what ran: {replayable(self.op)}"))),
            op=self.op,
        )

    def _owners_hint(self) -> str:
        """How to get more user ids, where there is but one: often that is why steps fail."""
        from wherry.sandbox.mapping import Mapping  # noqa: PLC0415 - only where a step failed
        from wherry.sandbox.modes import owners_hint  # noqa: PLC0415 - as above

        namespace = self.running.namespace()
        if namespace.place.mapping is not Mapping.ONE:
            return ""
        remedy = owners_hint(namespace.facts, "\n".join(namespace.problems))
        return f"there is only one user id here, and owners cannot change; if that is why: {remedy}"


_HINTS: Final = {
    # What `wherry run` says, in the words of a Dockerfile.
    "name the user by number, for example -u 65532:65532":
        "make the user in an earlier RUN, or name it by number: USER 65532:65532",
}  # fmt: skip


def _keyed(op: ExecOp) -> ExecOp:
    """The op as its keys see it: which cache it is given changes no result, as in BuildKit."""
    if not any(mount.kind is MountKind.CACHE for mount in op.mounts):
        return op
    return replace(op, mounts=tuple(_keyed_mount(mount) for mount in op.mounts))


def _keyed_mount(mount: ExecMount) -> ExecMount:
    if mount.kind is not MountKind.CACHE:
        return mount
    # The default's id holds the namespace that a build argument gives.
    is_default = mount.sharing == "shared" and f"/{mount.id}".endswith(mount.target)
    return replace(mount, id=mount.id if is_default else "", sharing="")


_USER_OF_URL: Final = re.compile(r"(?<=://)[^\s/@'\"]+@")
_REASONS: Final = {
    126: " (it cannot be executed)",
    127: " (there is no such program)",
    137: " (killed, perhaps for want of memory)",
}


def replayable(op: ExecOp) -> str:
    """The command as a line for a shell in the step's root.

    Without the variables, which the root's image has and whose values may be secrets.
    """
    import shlex  # noqa: PLC0415 - only where a step failed

    words = " ".join(shlex.quote(word) for word in op.args)
    return f"cd {shlex.quote(op.cwd or '/')} && {_USER_OF_URL.sub('****@', words)}"


def _kept(executed: Executed, staged: str, root: Built, running: Running) -> Change:
    """What the step changed, as a snapshot; one that changed nothing has none."""
    snapshots = running.storage.snapshots
    place = running.namespace().place.name
    change = Change(sha256(os.urandom(32)), place, executed.size, executed.empty)
    if executed.empty:
        running.drop(staged)
    else:
        key = f"{place}/{root_digest((*root.stack, change)).hex}"
        snapshots.commit(key, staged, executed.size)
    return change


class _Specified:
    """An op with its inputs as what the worker wants; what is held ends with `stack`."""

    def __init__(
        self,
        operation: ExecOperation,
        inputs: tuple[Result, ...],
        step: Step,
        stack: ExitStack,
    ) -> None:
        self._operation = operation
        self._running = operation.running
        self._inputs = inputs
        self._step = step
        self._stack = stack
        self._caches: dict[str, str] = {}
        self._secrets: list[bytes] = []
        self._secret_env: list[tuple[str, bytes]] = []

    def spec(self) -> tuple[StepSpec, tuple[bytes, ...]]:
        """The step, and the values that must not be seen in its output."""
        from wherry.sandbox.step_spec import StepSpec  # noqa: PLC0415 - only where a step runs

        op = self._operation.op
        self._hold_caches(op.mounts)
        mounts = [self._mount(mount) for mount in op.mounts]
        spec = StepSpec(
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
        return spec, tuple(self._secrets)

    def _mount(self, mount: ExecMount) -> StepMount | None:
        from wherry.sandbox.step_spec import StepMount  # noqa: PLC0415 - only where a step runs

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
        from wherry.sandbox.step_spec import StepMount  # noqa: PLC0415 - only where a step runs

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
        fetch = self._operation.shared.fetch
        return self._running.directories(source.stack, fetch, self._step)

    def _hold_caches(self, mounts: tuple[ExecMount, ...]) -> None:
        """Hold the cache mounts, always in one order: steps must not wait for each other."""
        named = {
            self._cache_name(mount): mount for mount in mounts if mount.kind is MountKind.CACHE
        }
        for name, mount in sorted(named.items()):
            # Two mounts of one step with the same directory hold it once.
            held = self._running.storage.mounts.hold(
                name,
                _SHARING[mount.sharing or "shared"],
                self._step.cancel.check,
                lambda path, mount=mount: self._begin(mount, path),  # type: ignore[misc] # bound now
            )
            self._caches[name] = self._stack.enter_context(held).path

    def _cache_name(self, mount: ExecMount) -> str:
        """What tells this cache from others."""
        name = mount.id
        if mount.mode is not None:
            # As in BuildKit, a cache of another owner or mode is another cache.
            name += f"\0{mount.mode:o} {mount.uid}:{mount.gid}"
        if mount.input >= 0:
            name += f"\0{self._operation.shown(mount, self._inputs[mount.input])}"
        # What belongs to the ids of one mapping is of no use to another.
        place = self._running.namespace().place
        return f"{name}\0{place._replace(kind='').name}"

    def _cache(self, mount: ExecMount) -> StepMount:
        from wherry.sandbox.step_spec import StepMount  # noqa: PLC0415 - only where a step runs

        path = self._caches[self._cache_name(mount)]
        return StepMount("cache", mount.target, directory=path, read_only=mount.read_only)

    def _begin(self, mount: ExecMount, path: str) -> None:
        """Fill a new cache mount."""
        source = self._inputs[mount.input] if mount.input >= 0 else None
        namespace = self._running.namespace()
        mode = 0o755 if mount.mode is None else mount.mode
        if isinstance(source, Built) and source.stack:
            owner = mount.uid, mount.gid, mode
            namespace.copy_out(self._lowers(source), mount.selector, path, owner)
            return
        if isinstance(source, Held):
            lent = self._running.lend_alone(source, mount.selector, self._step)
            os.rmdir(path)
            os.rename(lent, path)
            return
        namespace.make_directory(path, mount.uid, mount.gid, mode)

    def _secret(self, mount: ExecMount) -> StepMount | None:
        from wherry.sandbox.step_spec import StepMount  # noqa: PLC0415 - only where a step runs

        choices = self._running.choices
        value = choices.secret(mount.id)
        if value is None:
            if mount.required:
                raise choices.no_secret(mount.id)
            return None
        self._secrets.append(value)
        if mount.env:
            self._secret_env.append((mount.env, value))
        if not mount.target:
            return None
        mode = 0o400 if mount.mode is None else mount.mode
        return StepMount(
            "secret", mount.target, mode=mode, uid=mount.uid, gid=mount.gid, data=value
        )

    def _agent(self, mount: ExecMount) -> StepMount | None:
        from wherry.sandbox.step_spec import StepMount  # noqa: PLC0415 - only where a step runs

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


class _Output:
    """What a step writes, passed on line by line; the last lines are kept.

    A context manager: afterwards all of it has been passed on. Whole values of secrets are hidden.
    """

    def __init__(self, tell: Callable[[str], None], secrets: tuple[bytes, ...]) -> None:
        self.last: deque[str] = deque(maxlen=_LAST_LINES)
        self._tell = tell
        self._hidden = _hidden(secrets)
        beginning, self.end = os.pipe()
        self._stream: BinaryIO = open(beginning, "rb", buffering=0)  # noqa: SIM115 - see __exit__
        self.null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> _Output:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self.end)
        os.close(self.null)
        self._thread.join()
        self._stream.close()

    def _read(self) -> None:
        rest = b""
        while data := self._stream.read(_LONGEST_LINE):
            data = (rest + data).replace(b"\r\n", b"\n")
            # What follows says whether a last CR is half a line's end or a whole one.
            end = b"\r" if data.endswith(b"\r") else b""
            *lines, rest = data.removesuffix(end).replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                self._pass(line)
            if len(rest) > _LONGEST_LINE:
                self._pass(rest)
                rest = b""
            rest += end
        if rest:
            self._pass(rest.removesuffix(b"\r"))

    def _pass(self, line: bytes) -> None:
        for secret in self._hidden:
            line = line.replace(secret, b"***")
        text = line.decode("utf-8", "replace")
        self.last.append(text)
        self._tell(text)


def _hidden(secrets: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The lines of the secrets that are worth hiding, longest first."""
    lines = {line.strip() for secret in secrets for line in secret.split(b"\n")}
    found = [line for line in lines if len(line) >= _SHORTEST_HIDDEN]
    return tuple(sorted(found, key=len, reverse=True))
