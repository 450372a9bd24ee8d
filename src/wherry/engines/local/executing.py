# SPDX-License-Identifier: Apache-2.0
"""The executor of ExecOp: RUN.

A step is keyed by its op, the identity of the root that it runs in and the contents of what its
mounts show; secrets, agents and cache mounts count for nothing there, as in BuildKit. Of equal
steps, in this build or in another one at the same time, one runs and the others take its result.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from wherry.engines.local.files import FileSteps, built
from wherry.engines.local.results import Built, Change, Result, change_key
from wherry.engines.local.running import Running
from wherry.engines.local.step_output import StepOutput
from wherry.engines.local.storage import CacheRecords, written_layer
from wherry.errors import BuildError, MachineError
from wherry.fstree.tree import File
from wherry.graph.keys import CacheKey, content_key, definition_key
from wherry.graph.ops import ExecMount, ExecOp, MountKind
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import Layer
from wherry.solver.model import Step

if TYPE_CHECKING:
    from wherry.engines.local.go_caches import Offered
    from wherry.sandbox.step_spec import Executed, StepSpec

_SHELL: Final = ("/bin/sh",)
_SUMS: Final = ("go.sum", "go.work.sum")
_LARGE_LAYER: Final = 16 << 20
_NAMES_GO: Final = re.compile(r"(?<![\w.-])go(?![\w.-])")


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
        digests += [self.shared.shown(mount, inputs[mount.input]) for mount in mounts]
        key = content_key(_keyed(self.op), tuple(digests))
        self.keys[inputs] = key
        return key

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
        self._fill_ahead(root, step)
        lowers = running.directories(root.stack, self.shared.fetch, step)
        snapshots = storage.snapshots
        with ExitStack() as stack:
            spec = self._specified(inputs, step, stack)
            offered = self._offered(root, lowers, step, stack)
            spec = spec._replace(go_caches=offered.caches)
            staged = snapshots.stage()
            try:
                executed, last = self._execute(lowers, staged, spec, step)
                self._check(executed, last)
                change = _kept(executed, staged, root, running)
                change = change._replace(outside=offered.used(executed, storage))
            except BaseException:
                running.drop(staged)
                raise
        for note in executed.notes:
            running.say(note)
        remark = offered.remark(executed, names_go=_names_go(self.op))
        if remark:
            step.remark(remark)
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
            spec = self._specified(inputs, step, stack)
            offered = self._offered(left, lowers, step, stack)
            spec = spec._replace(
                args=_SHELL, terminal=os.isatty(streams[0]), go_caches=offered.caches
            )
            staged = snapshots.stage()
            stack.callback(self.running.drop, staged)
            namespace = self.running.namespace()
            return namespace.execute(lowers, staged, spec, streams, step.cancel).code

    def _specified(self, inputs: tuple[Result, ...], step: Step, stack: ExitStack) -> StepSpec:
        """The step as the worker wants it; what it holds ends with `stack`."""
        from wherry.engines.local.specifying import Given, Specified  # noqa: PLC0415 - as below

        return Specified(Given(self.op, inputs, self.shared, self.running), step, stack).spec()

    def _offered(
        self, root: Built, lowers: tuple[str, ...], step: Step, stack: ExitStack
    ) -> Offered:
        """The Go caches that the step may use, held until `stack` ends."""
        from wherry.engines.local.go_caches import (  # noqa: PLC0415 - only where a step runs
            Given,
            offer,
        )

        given = Given(self.op, root.stack, lowers, self.running, lambda: self._sums(root))
        return offer(given, step, stack)

    def _fill_ahead(self, root: Built, step: Step) -> None:
        """Begin to fill the Go caches of a step while its root is still being made."""
        if self.running.go_source is not None and _NAMES_GO.search(" ".join(self.op.args)):
            from wherry.engines.local.go_caches import (  # noqa: PLC0415 - as above
                Given,
                fill_ahead,
            )

            fill_ahead(Given(self.op, root.stack, (), self.running, lambda: self._sums(root)), step)

    def _sums(self, root: Built) -> tuple[str, ...]:
        """The texts of the go.sum files in the step's working directory, if they are soon found.

        They say what may be fetched, and what a step then sees is not decided by them: what needs
        a look into a large layer, or into what a RUN left, is passed over.
        """
        wanted = {posixpath.normpath(f"{self.op.cwd}/{name}").strip("/") for name in _SUMS}
        shared, found = self.shared, []
        for slab in reversed(root.stack):
            layer = (
                slab
                if isinstance(slab, Layer)
                else written_layer(shared.storage, slab, shared.settings)
            )
            if layer is None or layer.descriptor.size > _LARGE_LAYER:
                continue
            for entry in shared.roots.layer_index(layer).entries:
                if isinstance(entry, File) and entry.path in wanted:
                    wanted.discard(entry.path)
                    found.append(shared.roots.read(entry).decode("utf-8", "replace"))
        return tuple(found)

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
    ) -> tuple[Executed, tuple[str, ...]]:
        from wherry.sandbox.request import RunError  # noqa: PLC0415 - only where a step runs

        namespace = self.running.namespace()
        with StepOutput(step.output, self.running.hidden) as output:
            streams = (output.null, output.end, output.end)
            try:
                executed = namespace.execute(lowers, staged, spec, streams, step.cancel)
            except RunError as error:
                # Docker's codes are for `wherry run`; here the user's own build failed.
                hint = _HINTS.get(error.hint, error.hint)
                raise BuildError(error.what, why=error.why, hint=hint) from error
        return executed, output.last

    def _failed(self, executed: Executed, last: tuple[str, ...]) -> StepFailed:
        code = executed.code
        reason = _REASONS.get(code, "")
        return StepFailed(
            f"the command failed with exit code {code}{reason}",
            why="\n".join(last),
            hint="\n".join(
                filter(None, (self._owners_hint(last), f"what ran: {replayable(self.op)}"))
            ),
            op=self.op,
        )

    def _owners_hint(self, last: tuple[str, ...]) -> str:
        """How to get more user ids, where there is but one and that may be why the step failed."""
        if not _ABOUT_OWNERS.search("\n".join(last)):
            return ""
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


def _names_go(op: ExecOp) -> bool:
    """Whether a command's text has the word `go`."""
    texts = (*op.args, *(text for _, text in op.heredocs))
    return any(_NAMES_GO.search(text) for text in texts)


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


# Words of programs that may not change owners or users.
_ABOUT_OWNERS: Final = re.compile(
    r"not permitted|Invalid argument|chown|setgroups|set[ug]id|sete[ug]id|initgroups|lchown", re.I
)
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
        snapshots.commit(change_key((*root.stack, change)), staged, executed.size)
    return change
