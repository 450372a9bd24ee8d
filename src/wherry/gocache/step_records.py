# SPDX-License-Identifier: Apache-2.0
"""Steps of Dockerfiles in a pack set: which results earlier builds had, and the layers of them.

A record's key is a digest of what a step depends on; its stack is the root that the step left,
lowest storey first: layers, and runs of RUN by their ids, which are identities and say nothing of
what ran. A *selection* is the digest of what a COPY reads of such a root, so that nobody has to
look into it. Layers that the place keeps are its blobs; others lie where the base does, or are
gone: a stack with such a run is *hollow*, and good for all that does not have to look into it.

Exports that change something are counted, and what a build uses is marked with that number: what
was not used for many of them goes. Nothing here names a command, a variable or a path of a machine.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple, TypeVar

from wherry.oci.canonical import canonical_json
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor, Layer

MOST_RECORDS: Final = 4000
MOST_SELECTIONS: Final = 4000
MOST_RESULTS: Final = 1000
MOST_KEPT: Final = 500
"""More than so many of these has no set that anybody reads."""
# What an export leaves, so that several at once stay below what is read.
_LEFT: Final = 0.8
# Exports after which what nobody used goes; half as many after which its use is marked again.
_AGE: Final = 64
_FRESH: Final = _AGE // 2

Outside = tuple[str, ...]
"""A Go cache whose contents are kept beside the root: its kind, its path, and whose it is."""


class Run(NamedTuple):
    """What one run of a RUN changed: files of `size` bytes, with `empty` nothing at all.

    `layers` are those that were written of it, each with the latest time that anything in it may
    have, in seconds since 1970 (None: times as they were). `outside` are Go caches without which a
    later step may miss something, `unneeded` module caches of which it saw no module: whatever it
    left in their places is its own doing, and keeps no cache from later steps.
    """

    size: int
    empty: bool = False
    outside: tuple[Outside, ...] = ()
    layers: tuple[tuple[int | None, Layer], ...] = ()
    unneeded: tuple[Outside, ...] = ()


Storey = Layer | Digest
"""One storey of a root: a layer, or a run by its id."""


class StepRecord(NamedTuple):
    """The result of a step: its root, whose topmost storey is the step's own.

    `tree` and `unpacked` belong to a layer: the digest of its tree, and the bytes of files in it.
    """

    stack: tuple[Storey, ...]
    unpacked: int = 0
    tree: Digest | None = None
    used: int = 0


class Selection(NamedTuple):
    """The digest of what a COPY reads of a root."""

    digest: Digest
    used: int = 0


class StepSet(NamedTuple):
    """All steps in a place.

    `exports` counts what changed it. `kept` are layers that the place has, by digest; `results` are
    manifests of images that it has all steps of, each with the export that had it last.
    """

    exports: int = 0
    records: Mapping[str, StepRecord] = {}
    runs: Mapping[Digest, Run] = {}
    selections: Mapping[str, Selection] = {}
    results: Mapping[Digest, int] = {}
    kept: Mapping[Digest, Descriptor] = {}

    @property
    def size(self) -> int:
        """The bytes of all layers that the place keeps."""
        return sum(blob.size for blob in self.kept.values())

    def layers_of(self, stack: Iterable[Storey]) -> Iterator[Layer]:
        """All layers that a stack is made of, or may be."""
        for storey in stack:
            if isinstance(storey, Layer):
                yield storey
            elif storey in self.runs:
                yield from (layer for _, layer in self.runs[storey].layers)

    @property
    def hollow(self) -> frozenset[Digest]:
        """The runs that changed something and have no layer here that a root can be made of."""
        return frozenset(
            number for number, run in self.runs.items()
            if not run.empty and not any(latest is None for latest, _ in run.layers)
        )  # fmt: skip


class StepChange(NamedTuple):
    """What a build gives to a set: all that it used or made, and the layers to be kept for it."""

    records: Mapping[str, StepRecord]
    runs: Mapping[Digest, Run]
    selections: Mapping[str, Digest]
    result: Digest
    kept: Mapping[Digest, Descriptor] = {}


def is_place(kind: str, path: str) -> bool:
    """Whether a cache beside a root is one of Go's, at a place that cannot lead out of the root."""
    is_path = path.startswith("/") and path.strip("/") != "" and posixpath.normpath(path) == path
    # An index is JSON in UTF-8, which has no lone surrogates.
    is_text = "\0" not in path and not any("\ud800" <= letter <= "\udfff" for letter in path)
    return kind in ("build", "modules") and is_path and is_text


def record_key(key: Digest, codec: str) -> str:
    """What a step is called in a place; `codec` is empty where the result is a run.

    A layer's bytes depend on what compressed it, so that its record holds for equal codecs only.
    """
    return hashlib.sha256(canonical_json(["step/1", str(key), codec])).hexdigest()


def merged_steps(current: StepSet, change: StepChange, most: int) -> StepSet:
    """The set after a build, its layers in at most `most` bytes; `current` if nothing is new."""
    if has_all(current, change):
        return current
    now = current.exports + 1
    # Before the build's own: of one run some may know other layers.
    runs = {**current.runs, **{name: _united(current.runs.get(name), run)
                               for name, run in change.runs.items()}}  # fmt: skip
    records = {key: record._replace(used=now) for key, record in change.records.items()}
    selections = {key: Selection(digest, now) for key, digest in change.selections.items()}
    together = StepSet(
        now,
        _youngest({**current.records, **records}, now, MOST_RECORDS),
        runs,
        _youngest({**current.selections, **selections}, now, MOST_SELECTIONS),
        _recent({**current.results, change.result: now}, now),
        {**current.kept, **change.kept},
    )
    return bounded_steps(together, most)


def fitting_steps(current: StepSet, change: StepChange, most: int) -> StepChange:
    """The change with just those layers that a place with `current` would keep."""
    kept = merged_steps(current, change, most).kept
    return change._replace(
        kept={digest: blob for digest, blob in change.kept.items() if digest in kept}
    )


def is_result(current: StepSet, manifest: Digest) -> bool:
    """Whether the place has all steps of an image, and they are not about to be forgotten."""
    used = current.results.get(manifest)
    return used is not None and current.exports - used < _FRESH


def has_all(current: StepSet, change: StepChange) -> bool:
    """Whether a set has all of a change, and lately marked as used: nothing is to be written."""
    oldest = current.exports - _FRESH

    def has_record(key: str, record: StepRecord) -> bool:
        known = current.records.get(key)
        is_marked = known is not None and known.used > oldest
        return is_marked and known == record._replace(used=known.used if known else 0)

    def has_selection(key: str, digest: Digest) -> bool:
        known = current.selections.get(key)
        return known is not None and known.used > oldest and known.digest == digest

    return (
        is_result(current, change.result)
        and change.kept.keys() <= current.kept.keys()
        and all(has_record(key, record) for key, record in change.records.items())
        and all(has_selection(key, digest) for key, digest in change.selections.items())
        and all(_knows(current, name, run) for name, run in change.runs.items())
    )


def _knows(current: StepSet, name: Digest, run: Run) -> bool:
    """Whether a set has a run, with all of its layers that the place keeps."""
    known = current.runs.get(name)
    return (
        known is not None
        and (bool(known.unneeded) or not run.unneeded)
        and all(
            item in known.layers for item in run.layers if item[1].descriptor.digest in current.kept
        )
    )


def _united(known: Run | None, run: Run) -> Run:
    """A run with the layers that two have written of it; of two for one time the newer one."""
    if known is None:
        return run
    layers = {**dict(known.layers), **dict(run.layers)}
    order = sorted(layers, key=lambda latest: -1 if latest is None else latest)
    return run._replace(
        layers=tuple((latest, layers[latest]) for latest in order),
        # Older versions of wherry pass a run on without them.
        unneeded=run.unneeded or known.unneeded,
    )


_Used = TypeVar("_Used", StepRecord, Selection)


def _youngest(items: Mapping[str, _Used], now: int, most: int) -> dict[str, _Used]:
    """Those that were used of late, as many as an export leaves."""
    living = [key for key, item in items.items() if now - item.used <= _AGE]
    living.sort(key=lambda key: (-items[key].used, key))
    return {key: items[key] for key in sorted(living[: int(most * _LEFT)])}


def _recent(results: Mapping[Digest, int], now: int) -> dict[Digest, int]:
    living = [name for name, used in results.items() if now - used <= _AGE]
    living.sort(key=lambda name: (-results[name], str(name)))
    return {name: results[name] for name in sorted(living[: int(MOST_RESULTS * _LEFT)])}


def bounded_steps(steps: StepSet, most: int) -> StepSet:
    """The set with layers of at most `most` bytes, and without what no record names."""
    kept = _fitting(steps, most)
    named = {
        storey
        for record in steps.records.values()
        for storey in record.stack
        if isinstance(storey, Digest)
    }
    runs = {
        name: run._replace(
            layers=tuple(item for item in run.layers if item[1].descriptor.digest in kept)
        )
        for name, run in steps.runs.items()
        if name in named
    }
    return steps._replace(runs=runs, kept=kept)


def _fitting(steps: StepSet, most: int) -> dict[Digest, Descriptor]:
    """The layers that fit: those last used before others, of them the small ones first."""
    uses: dict[Digest, int] = {}
    for record in steps.records.values():
        for layer in steps.layers_of(record.stack):
            digest = layer.descriptor.digest
            uses[digest] = max(uses.get(digest, 0), record.used)
    wanted = [blob for digest, blob in steps.kept.items() if digest in uses]
    wanted.sort(key=lambda blob: (-uses[blob.digest], blob.size, str(blob.digest)))
    kept: dict[Digest, Descriptor] = {}
    left = most
    for blob in wanted:
        if blob.size <= left and len(kept) < int(MOST_KEPT * _LEFT):
            left -= blob.size
            kept[blob.digest] = blob
    return {digest: kept[digest] for digest in sorted(kept)}
