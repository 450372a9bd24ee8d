# SPDX-License-Identifier: Apache-2.0
"""What one Dockerfile build gives to a cache place: records of its steps, and their layers.

Layers are made of what RUN steps changed only for a place that lacks them. With `mode=max` all
travel; with `mode=min` those of the image: the other steps then answer where nothing changed, and
run again where something did.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, Final, NamedTuple

from wherry.api.cache_patience import CachePatience, TooSlow
from wherry.api.cache_traffic import megabytes
from wherry.api.cached_steps import CachedSteps, Used
from wherry.api.layer_waiting import LayerWaiting, PatientStream
from wherry.api.pushing import StoredBlob
from wherry.api.registries import Registries, RegistryAround
from wherry.api.transfer import transfer
from wherry.engines.local.files import FileSteps
from wherry.engines.local.results import Built, Change, Slab, change_key
from wherry.engines.local.settling import layer_of
from wherry.engines.local.snapshot_files import LostChange
from wherry.engines.local.storage import Times, written_layer
from wherry.errors import NetworkError, WherryError
from wherry.gocache.exporting import fitting_change
from wherry.gocache.pack_set import PackSet
from wherry.gocache.spec import CacheSpec
from wherry.gocache.step_records import (
    Outside,
    Run,
    StepChange,
    StepRecord,
    StepSet,
    is_place,
    record_key,
)
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor, Layer
from wherry.registry.model import BlobSource
from wherry.store.store import Store

# What gzip makes of a layer at the best: one that is too large even so need not be written.
_RATIO: Final = 0.05
_PIECE: Final = 1 << 20
# As for places: a cache is worth less patience than an image.
_RETRIES: Final = 2

Stacks = Mapping[Digest, tuple[Slab, ...]]
"""Roots by the run that is on top of each."""


class Given(NamedTuple):
    """A build that is done: what it used, the manifest of its image, and that image's layers."""

    used: Used
    result: Digest
    layers: frozenset[Digest]


class StepOffer(NamedTuple):
    """What a place is to be given, with the blobs that it lacks."""

    change: StepChange
    blobs: tuple[BlobSource, ...]


class StepExport:
    """Makes offers of one build; what RUN steps changed is read by `shared`."""

    def __init__(
        self,
        given: Given,
        shared: FileSteps,
        steps: CachedSteps,
        store: Store,
        around: RegistryAround,
    ) -> None:
        self._given = given
        self._shared = shared
        self._steps = steps
        self._store = store
        self._around = around
        self._results = {
            key: built for key, built in given.used.results.items() if _may_travel(built)
        }
        self._stacks = _stacks(self._results.values())
        self._origin: _Origin | None = None

    def offer(self, spec: CacheSpec, current: PackSet | None, registries: Registries) -> StepOffer:
        """What to give to a place that holds `current`; raises `MachineError`, `Cancelled`."""
        current = current or PackSet()
        known = current.steps
        runs = {
            name: self._run(stack, spec, known.runs.get(name))
            for name, stack in self._stacks.items()
        }
        change = StepChange(
            dict(self._records()), runs, dict(self._given.used.selections), self._given.result
        )
        wanted = change._replace(kept=dict(self._kept(change, spec, known)))
        fitting = fitting_change(current, wanted, spec.max_size)
        missing = {
            digest: blob for digest, blob in fitting.kept.items() if digest not in known.kept
        }
        sources = tuple(self._source(blob, registries) for blob in missing.values())
        return StepOffer(change._replace(kept=missing), sources)

    def _records(self) -> Iterator[tuple[str, StepRecord]]:
        codec = self._shared.settings.written_by
        for key, built in self._results.items():
            stack = tuple(
                slab.id if isinstance(slab, Change) else _bare(slab) for slab in built.stack
            )
            name = record_key(key, "" if built.change is not None else codec)
            yield name, StepRecord(stack, built.unpacked or 0, built.tree)

    def _run(self, stack: tuple[Slab, ...], spec: CacheSpec, known: Run | None) -> Run:
        change = stack[-1]
        assert isinstance(change, Change)  # noqa: S101 - as `_stacks` makes them
        times = dict.fromkeys((None, self._shared.times.latest))
        found = dict(known.layers) if known is not None else {}
        for latest in times:
            if latest not in found and not change.empty:
                layer = self._layer(stack, change, spec, latest)
                if layer is not None:
                    found[latest] = _bare(layer)
        order = sorted(found, key=lambda latest: -1 if latest is None else latest)
        outside: list[Outside] = []
        unneeded: list[Outside] = []
        for cache in change.outside:
            # For modules of which the run saw none no other machine runs it again.
            rows = outside if cache.kind == "build" or cache.is_needed else unneeded
            # Not the pool: that is a directory of this machine.
            rows.append((cache.kind, cache.path, cache.owner))
        layers = tuple((latest, found[latest]) for latest in order)
        return Run(change.size, change.empty, tuple(outside), layers, tuple(unneeded))

    def _layer(
        self, stack: tuple[Slab, ...], change: Change, spec: CacheSpec, latest: int | None
    ) -> Layer | None:
        """The layer of a change that travels to a place, written if need be; None for none."""
        settings = self._shared.settings
        known = written_layer(self._store, change, settings, latest)
        if spec.mode == "min":
            is_images = known is not None and known.descriptor.digest in self._given.layers
            return known if is_images else None
        if known is not None or change.size * _RATIO > spec.max_size:
            return known
        if latest is not None or self._store.snapshots.find(change_key(stack)) is None:
            # One with times cut off was written where the image has it; and nothing is here of
            # what another machine ran.
            return None
        try:
            with transfer(self._around.sink, f"layer of a RUN for {spec.place}") as moving:
                layer = layer_of(self._shared, stack, Times(0, None), self._around.cancel)
                moving.remark = megabytes(layer.descriptor.size)
        except LostChange:
            return None
        return layer

    def _kept(
        self, change: StepChange, spec: CacheSpec, known: StepSet
    ) -> Iterator[tuple[Digest, Descriptor]]:
        """The layers that the place has or can be given: those of steps, and no base's."""
        own = (built.layers for built in self._results.values())
        layers = [_bare(layer) for several in own for layer in several]
        layers += [layer for run in change.runs.values() for _, layer in run.layers]
        for layer in layers:
            blob = layer.descriptor
            travels = spec.mode == "max" or blob.digest in self._given.layers
            if blob.digest in known.kept or (travels and self._is_had(blob)):
                yield blob.digest, blob

    def _is_had(self, blob: Descriptor) -> bool:
        return self._store.blobs.known(blob.digest, blob.size) or self._steps.has(blob)

    def _source(self, blob: Descriptor, registries: Registries) -> BlobSource:
        if self._store.blobs.has(blob.digest, blob.size):
            return StoredBlob(blob, self._store, registries)
        if self._store.blobs.known(blob.digest):
            return self._lazy(blob, registries)
        return _OfferedBlob(blob, self._steps)

    def _lazy(self, blob: Descriptor, registries: Registries) -> BlobSource:
        """A layer that lies in registries: the place that it goes to does not bound its coming."""
        if self._origin is None:
            patience = CachePatience(self._around.cancel)
            asked = registries.beside(patience.token, _RETRIES)
            self._origin = _Origin(asked, LayerWaiting(patience))
        asked, waiting = self._origin
        return _LazyBlob(StoredBlob(blob, self._store, asked), waiting)


class _Origin(NamedTuple):
    """Registries that lazy layers come from, and how long all of them together may take."""

    registries: Registries
    waiting: LayerWaiting


class _LazyBlob(NamedTuple):
    """A lazy layer on its way to a place."""

    source: StoredBlob
    waiting: LayerWaiting

    @property
    def descriptor(self) -> Descriptor:
        """Digest and size."""
        return self.source.descriptor

    @property
    def repositories(self) -> tuple[str, ...]:
        """Where it can be mounted from."""
        return self.source.repositories

    def open(self, offset: int) -> BinaryIO:
        """The bytes from `offset` on."""
        stream = self.source.open(offset)
        size = self.descriptor.size - offset
        return io.BufferedReader(PatientStream(stream, self.waiting, size, self._told), _PIECE)

    def _told(self, error: WherryError) -> WherryError:
        if not isinstance(error, TooSlow):
            return error
        what = f"the layer {self.descriptor.digest.short} does not come from its registry"
        return NetworkError(what, why=error.what)


class _OfferedBlob(NamedTuple):
    """A layer on its way from one place to another, which this machine had no need of."""

    descriptor: Descriptor
    steps: CachedSteps
    repositories: tuple[str, ...] = ()

    def open(self, offset: int) -> BinaryIO:
        """The bytes from `offset` on."""
        stream = self.steps.open(self.descriptor)
        while offset > 0 and (piece := stream.read(min(offset, 1 << 20))):
            offset -= len(piece)
        return stream


def _may_travel(built: Built) -> bool:
    """Whether an index can say what lies beside the root; else nobody would read that index."""
    return all(is_place(cache.kind, cache.path) for cache in built.outside)


def _stacks(results: Iterable[Built]) -> dict[Digest, tuple[Slab, ...]]:
    """The root below and with each run that is in a result."""
    found: dict[Digest, tuple[Slab, ...]] = {}
    for built in results:
        stack = built.stack
        for number, slab in enumerate(stack, 1):
            if isinstance(slab, Change) and slab.id not in found:
                found[slab.id] = stack[:number]
    return found


def _bare(layer: Layer) -> Layer:
    """A layer as an index has it: without annotations and addresses of its base."""
    blob = layer.descriptor
    return Layer(Descriptor(blob.media_type, blob.digest, blob.size), layer.diff_id)
