# SPDX-License-Identifier: Apache-2.0
"""Steps of Dockerfiles from cache places, as the engine of one build meets them.

Nothing is fetched for a step whose result is known: its layers count as there as long as a place
offers them, and come when a step that has to run, or somebody who looks into a root, first needs
them. What a place offers is known for this build alone: the store keeps a result only once all of
its bytes are here. A place that does not give what it said is given up, and the steps run.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, Final, NamedTuple

from wherry.api.cache_patience import ASKING, TooSlow, filling
from wherry.api.cache_places import reference_of
from wherry.api.cache_traffic import CacheTraffic, Place, megabytes
from wherry.api.transfer import transfer
from wherry.engines.local.results import Built, Change, Outside, Slab
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
from wherry.gocache.step_records import StepRecord, StepSet, record_key
from wherry.graph.keys import CacheKey
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor, Layer
from wherry.process.cancel import CancelToken
from wherry.store.store import Store

_PIECE: Final = 1 << 20


class Used(NamedTuple):
    """What a build has used or made: results by their steps' keys, and selections of roots."""

    results: Mapping[Digest, Built]
    selections: Mapping[str, Digest]


class _Source(NamedTuple):
    """A place that is read from, and the steps in it."""

    place: Place
    steps: StepSet


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
            _Source(place, place.current.steps)
            for place in traffic.places
            if place.current is not None and place.current.steps.records
        )
        self._lock = threading.Lock()
        self._gone: set[str] = set()
        self._known_gone = 0
        self._brought_layers: set[Layer] = set()
        self._bringing: dict[Digest, threading.Lock] = {}
        self._used: dict[Digest, Built] = {}
        self._taken: dict[Digest, Built] = {}

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

    def distrust(self, cancel: CancelToken) -> None:
        """A layer could not be used: give up the places that gave one which is not what it says.

        Their bytes have the right digests; whether they are the layers of their diff IDs, and
        layers at all, shows when they are read.
        """
        from wherry.engines.local.roots import check_layer  # noqa: PLC0415 - after a failure

        for layer in tuple(self._brought_layers):
            try:
                check_layer(self._store, layer, cancel)
            except WherryError as error:
                for source in tuple(self.living()):
                    if layer.descriptor.digest in source.steps.kept:
                        self._give_up(source, error)

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
                if built is not None and self._is_usable(built):
                    with self._lock:
                        self._taken[key] = built
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
                return layer
        return None

    def fetching(self, others: Fetch) -> Fetch:
        """Fetches what places offer, and by `others` what they do not."""

        def fetch(layers: tuple[Layer, ...]) -> object:
            for layer in layers:
                if self.has(layer.descriptor):
                    self.bring(layer.descriptor)
                    self._brought_layers.add(layer)
            return others(layers)

        return fetch

    def bring(self, blob: Descriptor) -> None:
        """Have a layer in the store; raises `LostChange` where no place gives it, `Cancelled`."""
        with self._lock:
            alone = self._bringing.setdefault(blob.digest, threading.Lock())
        with alone:
            if self._store.blobs.has(blob.digest, blob.size):
                return
            for source in tuple(self.living()):
                if blob.digest in source.steps.kept and self._brought(source, blob):
                    return
        raise _lost(blob)

    def open(self, blob: Descriptor) -> BinaryIO:
        """The bytes of a layer that a place offers; raises `LostChange`, and what places raise."""
        for source in self.living():
            if blob.digest in source.steps.kept:
                return source.place.holding.open_blob(blob)
        raise _lost(blob)

    def keep_image(self, layers: Iterable[Descriptor], *, bytes_wanted: bool) -> None:
        """Have an image's layers in the store, or known to be in a registry where that will do.

        Raises `LostChange` where one is nowhere.
        """
        for blob in layers:
            if self._store.blobs.has(blob.digest, blob.size):
                continue
            if not self.has(blob):
                if not self._store.blobs.known(blob.digest, blob.size):
                    raise _lost(blob)
            elif bytes_wanted or not self._is_in_registry(blob):
                self.bring(blob)

    def adopt(self) -> None:
        """Keep those results of places in the store of which all is there by now."""
        plain = CacheRecords(self._store, self._plain)
        for key, built in tuple(self._taken.items()):
            for slab in built.stack:
                if isinstance(slab, Change):
                    self._adopt_layers(slab)
            if is_whole(self._store, built, self._plain):
                plain.save(CacheKey(key, b""), built)

    def _adopt_layers(self, change: Change) -> None:
        runs = (source.steps.runs.get(change.id) for source in self._sources)
        for latest, layer in (item for run in runs if run is not None for item in run.layers):
            blob = layer.descriptor
            if self._store.blobs.has(blob.digest, blob.size) and (
                written_layer(self._store, change, self._plain, latest) is None
            ):
                remember_written(self._store, change, layer, self._plain, latest)

    def _is_in_registry(self, blob: Descriptor) -> bool:
        """Whether a registry has the layer just now; it is noted as its source then."""
        for source in tuple(self.living()):
            spec = source.place.spec
            if spec.is_directory or blob.digest not in source.steps.kept:
                continue
            try:
                with source.place.patience.within(ASKING):
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
                source.place.patience.within(filling(blob.size)),
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
            why = f": {error.why.splitlines()[0]}" if error.why else ""
            self._traffic.warn(f"the cache {spec.place} is not used any more: {error.what}{why}")


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
        outside = tuple(_outside(row) for row in run.outside)
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
