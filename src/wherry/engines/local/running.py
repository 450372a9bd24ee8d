# SPDX-License-Identifier: Apache-2.0
"""What all RUN steps of a build share: the namespace worker, and the directories of their roots.

The worker is started by the first step that has to run. Each slab of a root becomes a snapshot
once: what a RUN changed is one already, a layer is unpacked on top of those below it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from wherry.engines.local.results import (
    Change,
    Held,
    Outside,
    Slab,
    prefix_digests,
    root_digest,
    snapshot_key,
)
from wherry.engines.local.snapshot_files import SnapshotReader, lost
from wherry.engines.local.storage import LayerSettings, Storage, written_layer
from wherry.errors import BuildError, MachineError, WherryError
from wherry.oci.digest import Digest
from wherry.oci.image import Layer
from wherry.process.cancel import Cancelled, CancelToken
from wherry.solver.model import Step

if TYPE_CHECKING:
    from wherry.engines.local.layer_indexes import LayerIndexes
    from wherry.engines.local.mount_files import NewMount
    from wherry.graph.ops import ExecMount
    from wherry.sandbox.namespace import Namespace


class Choices(Protocol):
    """What the user gives to RUN steps, beside what their ops say."""

    @property
    def certificates(self) -> bytes:
        """Extra certificates in PEM; empty for none."""

    def secret(self, name: str) -> bytes | None:
        """The value of a secret, None for one that was not given."""

    def agent(self, name: str) -> str | None:
        """The path of an agent's socket, None for one that was not given."""

    def no_secret(self, name: str) -> BuildError:
        """The error of a step that needs a secret which was not given."""

    def no_agent(self, name: str) -> BuildError:
        """The error of a step that needs an agent which was not given."""


class Starter(Protocol):
    """Starts namespace workers."""

    def start(self) -> Namespace:
        """The worker; what asks it first makes it run."""

    def refusal(self) -> MachineError | None:
        """Why none can work here, where that is certain; nothing is started to find out."""


class MountSource(Protocol):
    """Where the contents of new cache mounts may come from."""

    def used(self, mount: ExecMount, name: str) -> None:
        """A step that runs has the mount that `name` tells from all others."""

    def fill(self, new: NewMount, namespace: Namespace, step: Step) -> bool:
        """Put what there is for a mount into its new, empty directory.

        False where that is nothing: then the directory is as it was. Raises `Cancelled`.
        """


class GoSource(Protocol):
    """Where the contents of Go caches may come from."""

    def fill(self, cache: Outside, directory: str, sums: Callable[[], tuple[str, ...]]) -> None:
        """Put what there is into a Go cache at `directory`, which the store keeps.

        `sums` gives the texts of the go.sum files that vouch for modules. Raises `Cancelled`, and
        what failed that the user wants to be told of: in each call, whichever found it.
        """


class Running:
    """Made for one build; safe for threads. `close` ends the worker and all that runs in it."""

    def __init__(
        self,
        storage: Storage,
        settings: LayerSettings,
        starter: Starter,
        choices: Choices,
        say: Callable[[str], None],
    ) -> None:
        self.storage = storage
        self.choices = choices
        self.say = say
        # Whether a failed step's root is wanted afterwards.
        self.keep_failed = False
        # Where cache mounts come from that other machines filled.
        self.mounts: MountSource | None = None
        self.go_source: GoSource | None = None
        # Where the indexes of layers go that are unpacked.
        self.indexes: LayerIndexes | None = None
        self._settings = settings
        self._starter = starter
        self._lock = threading.Lock()
        self._namespace: Namespace | None = None
        # The snapshots of each root that was asked for: all stay while the store is open.
        self._roots: dict[Digest, tuple[str, ...]] = {}
        self._lent: dict[tuple[int, str], str] = {}
        # Cancelled at the end: what was begun ahead and is not needed is not waited for.
        self._ending = CancelToken()
        self._hidden: set[bytes] = set()
        self._ahead: list[threading.Thread] = []
        self._lending: dict[tuple[int, str], threading.Lock] = {}
        self._held: list[Held] = []
        self._said: set[str] = set()
        self.reader = SnapshotReader(storage.snapshots, self.namespace)

    def namespace(self) -> Namespace:
        """The worker, started by the first call; raises `MachineError` where it is refused."""
        with self._lock:
            if self._namespace is None:
                self._namespace = self._starter.start()
            return self._namespace

    def prepare(
        self, stack: tuple[Slab, ...], fetch: Callable[[tuple[Layer, ...]], None], step: Step
    ) -> None:
        """Begin to make the snapshots of a root on a thread; what fails is told by who needs it."""
        self.begin(lambda quiet: self.directories(stack, fetch, quiet), step)

    def begin(self, work: Callable[[Step], object], step: Step) -> None:
        """Begin on a thread what is needed soon; what fails is told by who needs it.

        `work` gets a step for what it does: that of the caller may have ended by then.
        """
        quiet = Step(int(step.id), step.name, lambda _event: None, self._ending)

        def run() -> None:
            with (
                suppress(WherryError, Cancelled, OSError),
                step.cancel.on_cancel(self._ending.cancel),
            ):
                work(quiet)

        thread = threading.Thread(target=run, daemon=True)
        with self._lock:
            self._ahead.append(thread)
        thread.start()

    def drop(self, staged: str) -> None:
        """Remove what a step left half, or left for nothing."""
        with suppress(WherryError):
            self.namespace().remove((staged,))
        self.storage.snapshots.discard(staged)

    def hide(self, value: bytes) -> None:
        """Keep the value of a secret out of the output of this and all later steps."""
        with self._lock:
            self._hidden.add(value)

    @property
    def hidden(self) -> tuple[bytes, ...]:
        """The values of secrets that steps were given so far."""
        with self._lock:
            return tuple(self._hidden)

    def require(self) -> None:
        """Raise `MachineError` where steps certainly cannot run, before anything else does."""
        with self._lock:
            refusal = self._starter.refusal() if self._namespace is None else None
        if refusal is not None:
            raise refusal

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            ahead, self._ahead = self._ahead, []
        self._ending.cancel()
        for thread in ahead:
            thread.join()
        self.reader.close()
        with self._lock:
            if self._namespace is not None:
                self._namespace.close()
                self._namespace = None

    def directories(
        self, stack: tuple[Slab, ...], fetch: Callable[[tuple[Layer, ...]], None], step: Step
    ) -> tuple[str, ...]:
        """The snapshots of a root, lowest first, made where they are missing.

        Raises `NetworkError` where a layer cannot be fetched, `UsageError` for one that is damaged,
        `MachineError`, `Cancelled`.
        """
        place = self.namespace().place
        length, found = self._known_prefix(stack)
        self._fetch_ahead(stack, length, fetch, step)
        for number in range(length, len(stack)):
            prefix = stack[: number + 1]
            slab = prefix[-1]
            if not (isinstance(slab, Change) and slab.empty):
                digest = root_digest(prefix)
                key = snapshot_key(place.name, digest)
                known = self.storage.snapshots.find(key)
                if known is None:
                    step.progress(number, len(stack), "layers", "unpacking")
                    known = self._made(key, prefix, found, fetch, step)
                # A whole tree is all that is needed of what it stands on, too.
                found = (known,) if place.kind == "whole" else (*found, known)
                with self._lock:
                    self._roots[digest] = found
        return found

    def _fetch_ahead(
        self,
        stack: tuple[Slab, ...],
        length: int,
        fetch: Callable[[tuple[Layer, ...]], None],
        step: Step,
    ) -> None:
        """Have layers come while those below them are unpacked, one after the other."""
        place = self.namespace().place.name
        later = [
            slab
            for slab, root in list(zip(stack, prefix_digests(stack), strict=True))[length + 1 :]
            if isinstance(slab, Layer)
            and not self.storage.blobs.has(slab.descriptor.digest, slab.descriptor.size)
            and self.storage.snapshots.find(snapshot_key(place, root)) is None
        ]

        def fetch_all(quiet: Step) -> None:
            for layer in later:
                quiet.cancel.check()
                fetch((layer,))

        if later:
            self.begin(fetch_all, step)

    def _known_prefix(self, stack: tuple[Slab, ...]) -> tuple[int, tuple[str, ...]]:
        """The longest beginning of the stack that is there already, and its snapshots."""
        place = self.namespace().place
        for length in range(len(stack), 0, -1):
            slab = stack[length - 1]
            if isinstance(slab, Change) and slab.empty:
                continue
            digest = root_digest(stack[:length])
            with self._lock:
                known = self._roots.get(digest)
            if known is not None:
                return length, known
            if place.kind == "whole":
                path = self.storage.snapshots.find(snapshot_key(place.name, digest))
                if path is not None:
                    return length, (path,)
        return 0, ()

    def _made(
        self,
        key: str,
        prefix: tuple[Slab, ...],
        lowers: tuple[str, ...],
        fetch: Callable[[tuple[Layer, ...]], None],
        step: Step,
    ) -> str:
        snapshots = self.storage.snapshots
        with snapshots.lock(key, step.cancel.check):
            known = snapshots.find(key)
            if known is not None:
                return known
            layer = self._layer_of(prefix)
            fetch((layer,))
            indexes = self.indexes if self.indexes and not self.indexes.has(layer) else None
            limits = indexes.limits if indexes else None
            staged = snapshots.stage()
            try:
                with self.storage.blobs.open(layer.descriptor.digest) as blob:
                    unpacked = self.namespace().unpack(
                        lowers, staged, layer, blob, step.cancel, limits
                    )
            except BaseException:
                self.drop(staged)
                raise
            self._tell_skipped(unpacked.skipped)
            made = snapshots.commit(key, staged, unpacked.size)
            # Without it the next step to look into the root reads all of the layer again.
            if indexes and unpacked.layer_index:
                with suppress(MachineError):
                    indexes.keep_encoded(layer, unpacked.layer_index)
            return made

    def _layer_of(self, prefix: tuple[Slab, ...]) -> Layer:
        """The layer of the topmost slab; raises `BuildError` for a change without one."""
        slab = prefix[-1]
        if isinstance(slab, Layer):
            return slab
        layer = written_layer(self.storage, slab, self._settings)
        if layer is None:
            raise lost(prefix)
        return layer

    def _tell_skipped(self, skipped: tuple[str, ...]) -> None:
        """Say once what could not be made here, such as a base's device nodes."""
        with self._lock:
            fresh = [item for item in skipped if item not in self._said]
            self._said.update(fresh)
        if fresh:
            more = f" and {len(fresh) - 3} more" if len(fresh) > 3 else ""
            self.say(f"left out of the root: {'; '.join(fresh[:3])}{more}")

    def lend(self, held: Held, path: str, step: Step) -> str:
        """A directory or file with what `held` has at `path`, to be read only; copied once."""
        key = id(held), path
        with self._lock:
            lock = self._lending.setdefault(key, threading.Lock())
            # Kept, so that its id stays its own.
            self._held.append(held)
        with lock:
            if key not in self._lent:
                self._lent[key] = self.lend_alone(held, path, step)
            return self._lent[key]

    def lend_alone(self, held: Held, path: str, step: Step) -> str:
        """As `lend`, for one step to write to; the directory around it is the caller's to drop."""
        from wherry.engines.local.lending import lend  # noqa: PLC0415 - few steps need it

        target = os.path.join(self.storage.scratch(), "lent")
        lend(held.files, path, target, step.cancel)
        return target
