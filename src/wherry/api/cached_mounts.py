# SPDX-License-Identifier: Apache-2.0
"""Cache mounts of RUN that travel: those that `--cache-mounts` names.

Before a step that runs has a mount which this machine does not have, the first place that holds it
fills it. After the build each mount that a step had is packed, while it is held as a step would,
unless the place holds it as it is. What goes wrong costs a line and no build: the mount begins
empty, or stays in the place what it was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from wherry.api.mount_arrival import MountArrival, megabytes, one_line, shown
from wherry.api.mount_departure import MetMount, MountDeparture, Packed
from wherry.engines.local.mount_files import NewMount, mount_name
from wherry.errors import WherryError, near
from wherry.gocache.mount_records import MountChange, MountRecord, mount_key
from wherry.gocache.places import FileBlob
from wherry.graph.ops import ExecMount, ExecOp, MountKind
from wherry.registry.model import BlobSource

if TYPE_CHECKING:
    from wherry.api.cache_traffic import CacheTraffic
    from wherry.engines.local.running import Running
    from wherry.gocache.spec import CacheSpec
    from wherry.graph.build import BuildGraph
    from wherry.sandbox.namespace import Namespace
    from wherry.solver.model import Step
    from wherry.store.store import Store


class OfferedMounts(NamedTuple):
    """What a place is to hold of cache mounts, and the blobs that have to be put for it."""

    change: MountChange
    blobs: tuple[BlobSource, ...] = ()


class CachedMounts:
    """The cache mounts of one build that travel; implements `engines.local.running.MountSource`.

    `ids` are their names as users write them. `fill` and `used` are safe for threads.
    """

    def __init__(self, ids: Sequence[str], traffic: CacheTraffic, store: Store) -> None:
        self._ids = frozenset(ids)
        self._traffic = traffic
        self._namespace = ""
        self._lock = threading.Lock()
        self._met: dict[str, MetMount] = {}
        self._used: dict[str, MetMount] = {}
        self._packed: dict[str, Packed] = {}
        self._failed: set[str] = set()
        self._arrival = MountArrival(traffic, store)
        self._departure = MountDeparture(store, traffic.registries.around)

    def meet(self, graph: BuildGraph, namespace: str = "") -> None:
        """Look for the mounts in a build, and tell of names that none has.

        `namespace` is what BUILDKIT_CACHE_MOUNT_NS puts before all ids.
        """
        self._namespace = f"{namespace}/" if namespace else ""
        mounts = tuple(_cache_mounts(graph))
        known = tuple(dict.fromkeys(self._written(mount) for mount in mounts))
        for name in sorted(self._ids.difference(known, (mount.id for mount in mounts))):
            hint = near(name, known)
            text = f"--cache-mounts {shown(name)}: no RUN of this build has such a cache mount"
            self._traffic.warn(f"{text}; {hint}" if hint else text)
        for mount in mounts:
            if mount.input < 0 and self._is_named(mount):
                met = _met(mount, mount_name(mount))
                self._met.setdefault(met.key, met)

    def attend(self, running: Running) -> None:
        """Let new mounts of a build's steps be filled; its worker has to live until `close`."""
        running.mounts = self
        self._departure.shared = running.namespace

    def lacks(self, known: Mapping[str, MountRecord]) -> bool:
        """Whether a place that holds these surely lacks some of the mounts that were named."""
        return len(known) < len(self._ids)

    # --- before a step --------------------------------------------------------------------------

    def used(self, mount: ExecMount, name: str) -> None:
        """Note that a step that runs has the mount."""
        if self._is_named(mount):
            met = _met(mount, name)
            with self._lock:
                self._used.setdefault(met.key, met)

    def fill(self, new: NewMount, namespace: Namespace, step: Step) -> bool:
        """Fill a new mount with what the first place of use holds; False where there is none."""
        if not self._is_named(new.mount):
            return False
        return self._arrival.fill(mount_key(new.name), new, namespace, step)

    # --- after the build ------------------------------------------------------------------------

    def offered(self, spec: CacheSpec) -> OfferedMounts:
        """What to give to a place. Raises only what a place with `ignore-error=false` says."""
        current = self._traffic.current(spec)
        known: Mapping[str, MountRecord] = current.mounts if current is not None else {}
        written: dict[str, MountRecord] = {}
        used: set[str] = set()
        blobs: list[BlobSource] = []
        for met in self._wanted(known):
            if (spec.address, met.key) in self._arrival.missed:
                continue
            there = known.get(met.key)
            packed = self._pack(met, there, spec)
            if packed is None:
                continue
            if there is not None and there.tree == packed.tree:
                used.add(met.key)
            elif packed.record is not None and self._fits(met, packed.record, spec):
                written[met.key] = packed.record
                blobs.append(FileBlob(packed.record.blob, packed.path))
        change = MountChange(int(time.time()), written, frozenset(used))
        return OfferedMounts(change, tuple(blobs))

    def close(self) -> None:
        """End what was begun; may be called more than once."""
        self._departure.close()

    def _wanted(self, known: Mapping[str, MountRecord]) -> Iterator[MetMount]:
        """What steps had, and what is here of that no place knows."""
        yield from (self._used[key] for key in sorted(self._used))
        for key in sorted(self._met.keys() - self._used.keys() - known.keys()):
            if self._departure.is_here(self._met[key]):
                yield self._met[key]

    def _pack(self, met: MetMount, there: MountRecord | None, spec: CacheSpec) -> Packed | None:
        known = there.tree if there is not None else None
        before = self._packed.get(met.key)
        if before is not None and (before.record is not None or before.tree == known):
            return before
        if met.key in self._failed:
            return None
        try:
            packed = self._departure.packed(met, known)
        except WherryError as error:
            self._failed.add(met.key)
            if not spec.ignore_error:
                raise
            self._traffic.warn(f"the cache mount {shown(met.id)} stays here: {one_line(error)}")
            return None
        if packed is not None:
            self._packed[met.key] = packed
        return packed

    def _fits(self, met: MetMount, record: MountRecord, spec: CacheSpec) -> bool:
        size = record.blob.size
        if size <= spec.max_size:
            return True
        self._traffic.warn(
            f"the cache mount {shown(met.id)} stays here: {megabytes(size)} are more than "
            f"{spec.place} may hold (max-size=)"
        )
        return False

    def _is_named(self, mount: ExecMount) -> bool:
        return mount.id in self._ids or self._written(mount) in self._ids

    def _written(self, mount: ExecMount) -> str:
        """The id as the Dockerfile has it."""
        return mount.id.removeprefix(self._namespace)


def _met(mount: ExecMount, name: str) -> MetMount:
    return MetMount(mount.id, name, mount_key(name), mount.sharing or "shared")


def _cache_mounts(graph: BuildGraph) -> Iterator[ExecMount]:
    for vertex in graph.vertices:
        if isinstance(vertex.op, ExecOp):
            yield from (mount for mount in vertex.op.mounts if mount.kind is MountKind.CACHE)
