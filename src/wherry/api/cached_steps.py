# SPDX-License-Identifier: Apache-2.0
"""Steps of Dockerfiles from cache places, as the engine of one build meets them.

Nothing is fetched for a step whose result is known: its layers count as there as long as a place
offers them, and come when a step that has to run, or somebody who looks into a root, first needs
them. What a place offers is known for this build alone: the store keeps a result only once all of
its bytes are here, and were read. A place that does not give what it said is given up, and the
steps run.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, Final, NamedTuple

from wherry.api.cache_patience import TooSlow
from wherry.api.cache_places import reference_of
from wherry.api.cache_traffic import CacheTraffic, Place, megabytes, reason_of
from wherry.api.layer_waiting import LayerWaiting, PatientStream
from wherry.api.transfer import transfer
from wherry.engines.local.results import NOTHING_SEEN, Built, Change, Outside, Slab
from wherry.engines.local.snapshot_files import LostChange
from wherry.engines.local.storage import (
    CacheRecords,
    Fetch,
    LayerSettings,
    is_whole,
    remember_written,
    written_layer,
)
from wherry.errors import NetworkError, WherryError
from wherry.gocache.step_records import StepRecord, StepSet, Storey, record_key
from wherry.graph.keys import CacheKey
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor, Layer
from wherry.store.store import Store

_PIECE: Final = 1 << 20


class Used(NamedTuple):
    """What a build has used or made: results by their steps' keys, and selections of roots."""

    results: Mapping[Digest, Built]
    selections: Mapping[str, Digest]


class _Source(NamedTuple):
    """A place that is read from, the steps in it, and how long it may still take."""

    place: Place
    steps: StepSet
    waiting: LayerWaiting


class _Taken(NamedTuple):
    """A result that a place gave, and the root as the place told of it."""

    source: _Source
    stack: tuple[Storey, ...]
    built: Built

    @property
    def layers(self) -> Iterator[Layer]:
        """All layers that the root is made of, or may be."""
        return self.source.steps.layers_of(self.stack)


class CachedSteps:
    """The steps of all places of a build; safe for threads.

    Implements `StepCache` and `Offered` of the engine's storage. With `hollow` results count of
    which nothing has to be had: for a build that runs no step.
    """

    def __init__(self, traffic: CacheTraffic, store: Store, settings: LayerSettings) -> None:
        self.hollow = False
        self.settings = settings._replace(offered=self)
        self.selections = _Selections(self)
        self._plain = settings
        self._store = store
        self._traffic = traffic
        self._sources = tuple(
            _Source(place, place.current.steps, LayerWaiting(place.patience))
            for place in traffic.places
            if place.current is not None and place.current.steps.records
        )
        self._lock = threading.Lock()
        self._gone: set[str] = set()
        self._known_gone = 0
        # Layers that places told of, and those whose bytes are here and were found to be them.
        self._told: set[Layer] = set()
        self._sound: set[Layer] = set()
        self._bringing: dict[Digest, threading.RLock] = {}
        self._used: dict[Digest, Built] = {}
        self._taken: dict[Digest, _Taken] = {}

    def __bool__(self) -> bool:
        """Whether there is anything to look up."""
        return bool(self._sources)

    @property
    def taken(self) -> int:
        """How many results came from places."""
        return len(self._taken)

    @property
    def used(self) -> Used:
        """What the build has used so far."""
        with self._lock:
            return Used(dict(self._used), dict(self.selections.noted))

    def do_without(self) -> bool:
        """Whether another solve may go better: without hollow results or places given up since."""
        may = self.hollow or len(self._gone) > self._known_gone
        self._known_gone = len(self._gone)
        self.hollow = False
        self.forget()
        return may

    def leave(self, error: WherryError) -> None:
        """Give up all places that results came from: what they told cannot be built upon."""
        for source in tuple(self.living()):
            if any(taken.source is source for taken in tuple(self._taken.values())):
                self._give_up(source, error)

    def distrust(self, error: WherryError) -> None:
        """A step failed: give up the places that told of a layer which is why, if one is.

        A layer may be what its record says, and yet none that can be unpacked here.
        """
        text = f"{error.what}\n{error.why}"
        for taken in tuple(self._taken.values()):
            if any(_is_named(layer, text) for layer in taken.layers):
                self._give_up(taken.source, error)

    def forget(self) -> None:
        """Begin anew: another solve of the same build looks everything up again."""
        with self._lock:
            self._used.clear()
            self._taken.clear()
            self.selections.noted.clear()

    # --- results --------------------------------------------------------------------------------

    def lookup(self, key: Digest) -> Built | None:
        """The result of a step; None where no place has one that can be used."""
        for source in self.living():
            for codec in (self._plain.written_by, ""):
                record = source.steps.records.get(record_key(key, codec))
                built = None if record is None else _built(record, source.steps)
                if record is None or built is None or not self._is_usable(built):
                    continue
                taken = _Taken(source, record.stack, built)
                with self._lock:
                    self._taken[key] = taken
                    self._told.update(taken.layers)
                return built
        return None

    def note(self, key: Digest, result: Built) -> None:
        """Take note of what the build uses."""
        with self._lock:
            self._used[key] = result

    def _is_usable(self, built: Built) -> bool:
        return self.hollow or is_whole(self._store, built, self.settings)

    def living(self) -> Iterator[_Source]:
        """The places that have not been given up."""
        return (one for one in self._sources if one.place.spec.address not in self._gone)

    # --- layers ---------------------------------------------------------------------------------

    def has(self, blob: Descriptor) -> bool:
        """Whether a place offers a layer."""
        found = (source.steps.kept.get(blob.digest) for source in self.living())
        return any(kept is not None and kept.size == blob.size for kept in found)

    def written(self, change: Digest, latest: int | None) -> Layer | None:
        """The layer that was written of a change, which a place offers."""
        for source in self.living():
            run = source.steps.runs.get(change)
            layer = None if run is None else dict(run.layers).get(latest)
            if layer is not None:
                with self._lock:
                    self._told.add(layer)
                return layer
        return None

    def fetching(self, others: Fetch) -> Fetch:
        """Fetches what places offer, and by `others` what they do not."""

        def fetch(layers: tuple[Layer, ...]) -> object:
            for layer in layers:
                if self.has(layer.descriptor):
                    self.bring(layer)
            return others(layers)

        return fetch

    def bring(self, layer: Layer) -> None:
        """Have a layer in the store; raises `LostChange` where no place gives it, `Cancelled`."""
        blob = layer.descriptor
        with self._alone(blob):
            if not self._is_here(blob) and not any(
                blob.digest in source.steps.kept and self._brought(source, blob)
                for source in tuple(self.living())
            ):
                raise _lost(blob)
            if not self._is_sound(layer):
                raise _lost(blob)

    def _alone(self, blob: Descriptor) -> threading.RLock:
        with self._lock:
            return self._bringing.setdefault(blob.digest, threading.RLock())

    def _is_here(self, blob: Descriptor) -> bool:
        return self._store.blobs.has(blob.digest, blob.size)

    def _is_sound(self, layer: Layer) -> bool:
        """Whether a layer that is here is what its record says, if only a place says so.

        Its bytes have the right digest; whether they are the layer of its diff ID, and a layer at
        all, shows when they are read: once in a build. Else the places that have it are given up.
        """
        from wherry.engines.local.roots import check_layer  # noqa: PLC0415 - where one came

        with self._alone(layer.descriptor):
            if layer in self._sound or layer not in self._told:
                return True
            try:
                check_layer(self._store, layer, self._traffic.registries.around.cancel)
            except WherryError as error:
                for source in tuple(self.living()):
                    if layer.descriptor.digest in source.steps.kept:
                        self._give_up(source, error)
                return False
            self._sound.add(layer)
            return True

    def open(self, blob: Descriptor) -> BinaryIO:
        """The bytes of a layer that a place offers; reading, too, raises `LostChange`."""
        for source in self.living():
            if blob.digest in source.steps.kept:
                return self._opened(source, blob)
        raise _lost(blob)

    def _opened(self, source: _Source, blob: Descriptor) -> BinaryIO:
        def told(error: WherryError) -> WherryError:
            self._give_up(source, error)
            return _lost(blob)

        try:
            stream = source.place.holding.open_blob(blob)
        except WherryError as error:
            raise told(error) from error
        patient = PatientStream(stream, source.waiting, blob.size, told)
        return io.BufferedReader(patient, _PIECE)

    def keep_image(self, layers: Iterable[Layer], *, bytes_wanted: bool) -> None:
        """Have an image's layers in the store, or known to be in a registry where that will do.

        Raises `LostChange` where one is nowhere, or not what its record says.
        """
        for layer in layers:
            blob = layer.descriptor
            if self._is_here(blob):
                if not self._is_sound(layer):
                    raise _lost(blob)
            elif not self.has(blob):
                if not self._store.blobs.known(blob.digest, blob.size):
                    raise _lost(blob)
            elif bytes_wanted or not self._is_in_registry(blob):
                self.bring(layer)

    def adopt(self) -> None:
        """Keep those results of places in the store of which all is there by now."""
        plain = CacheRecords(self._store, self._plain)
        for key, taken in tuple(self._taken.items()):
            for slab in taken.built.stack:
                if isinstance(slab, Change):
                    self._adopt_layers(slab)
            if is_whole(self._store, taken.built, self._plain) and all(
                self._may_stay(slab, taken.source.steps)
                for slab in taken.built.stack
                if isinstance(slab, Layer)
            ):
                plain.save(CacheKey(key, b""), taken.built)

    def _may_stay(self, layer: Layer, steps: StepSet) -> bool:
        """Whether a layer of a result was read, or is the base's, which the place does not keep."""
        blob = layer.descriptor
        return blob.digest not in steps.kept or (self._is_here(blob) and self._is_sound(layer))

    def _adopt_layers(self, change: Change) -> None:
        runs = (source.steps.runs.get(change.id) for source in self._sources)
        for latest, layer in (item for run in runs if run is not None for item in run.layers):
            if (
                self._is_here(layer.descriptor)
                and written_layer(self._store, change, self._plain, latest) is None
                and self._is_sound(layer)
            ):
                remember_written(self._store, change, layer, self._plain, latest)

    def _is_in_registry(self, blob: Descriptor) -> bool:
        """Whether a registry has the layer just now; it is noted as its source then."""
        for source in tuple(self.living()):
            spec = source.place.spec
            if spec.is_directory or blob.digest not in source.steps.kept:
                continue
            try:
                with source.waiting.moving():
                    is_there = source.place.holding.place.has(blob)
            except WherryError as error:
                self._give_up(source, error)
                continue
            if is_there:
                reference = reference_of(spec, source.place.registries)
                name = f"{reference.registry}/{reference.repository}"
                self._store.sources.add(blob.digest, name)
                return True
        return False

    def _brought(self, source: _Source, blob: Descriptor) -> bool:
        """Whether a place gave the layer; else it is given up."""
        name = f"layer {blob.digest.short} of {source.place.spec.place}"
        try:
            with (
                source.waiting.moving(blob.size),
                transfer(self._traffic.registries.around.sink, name, blob.size) as moving,
                self._store.blobs.writer() as writer,
            ):
                for piece in _pieces(source, blob):
                    moving(len(piece))
                    writer.write(piece)
                writer.commit(blob.digest, blob.size)
                moving.remark = megabytes(blob.size)
        except (_NotGiven, TooSlow) as error:
            self._give_up(source, error)
            return False
        return True

    def _give_up(self, source: _Source, error: WherryError) -> None:
        """Use a place no more; raises `error` where the user wants to hear of it so."""
        spec = source.place.spec
        if not spec.ignore_error:
            raise error
        with self._lock:
            is_new = spec.address not in self._gone
            self._gone.add(spec.address)
        if is_new:
            reason = reason_of(error, spec)
            self._traffic.warn(f"the cache {spec.place} is not used any more: {reason}")


class _Selections:
    """What places and this build know of selections; implements the engine's `Selections`."""

    def __init__(self, steps: CachedSteps) -> None:
        self.noted: dict[str, Digest] = {}
        self._steps = steps

    def find(self, key: str) -> Digest | None:
        """The digest that a place knows."""
        for source in self._steps.living():
            found = source.steps.selections.get(key)
            if found is not None:
                return found.digest
        return None

    def note(self, key: str, selected: Digest) -> None:
        """Take note of what the build uses."""
        self.noted[key] = selected


class _NotGiven(NetworkError):
    """A place does not give what it should have."""


def _pieces(source: _Source, blob: Descriptor) -> Iterator[bytes]:
    """The bytes of a layer, the last ones only if all are right; raises `_NotGiven`."""
    try:
        with source.place.holding.open_blob(blob) as stream:
            while piece := stream.read(_PIECE):
                yield piece
    except WherryError as error:
        raise _NotGiven(error.what, why=error.why, hint=error.hint) from error
    except OSError as error:
        what = f"the layer {blob.digest.short} cannot be read"
        raise _NotGiven(what, why=error.strerror or str(error)) from error


def _is_named(layer: Layer, text: str) -> bool:
    return layer.descriptor.digest.short in text or str(layer.diff_id) in text


def _built(record: StepRecord, steps: StepSet) -> Built | None:
    """A record as the engine has results; None where its runs are not all told of."""
    slabs: list[Slab] = []
    for storey in record.stack:
        if isinstance(storey, Layer):
            slabs.append(storey)
            continue
        run = steps.runs.get(storey)
        if run is None:
            return None
        outside = (
            *(_outside(row) for row in run.outside),
            *(_outside(row)._replace(seen=NOTHING_SEEN) for row in run.unneeded),
        )
        # Its snapshot is at another machine's place, under no name that one here has.
        slabs.append(Change(storey, "", run.size, run.empty, outside))
    *below, own = slabs
    if isinstance(own, Layer):
        return Built((own,), record.unpacked, record.tree, below=tuple(below))
    return Built((), own.size, below=tuple(below), change=own)


def _outside(row: tuple[str, ...]) -> Outside:
    """A Go cache beside a run's change, which is in no pool of this machine.

    Where later steps need it, the run counts as gone: it runs again, if something stands on it.
    """
    kind, path, owner = row
    return Outside(kind, path, owner, "")


def _lost(blob: Descriptor) -> LostChange:
    return LostChange(
        f"the layer {blob.digest.short} of an earlier step cannot be had any more",
        why="the cache that had it does not give it",
        hint="build again",
    )
