# SPDX-License-Identifier: Apache-2.0
"""Travelling records in cache places: written after a build, and asked before one.

A record says which image a request gives; the image's layers stay where they were pushed to, or
are kept beside the record where nobody pushed them. An answer holds only where all of them can be
had.

JSON form of a blob of records, zstd-compressed, newest first:
  [{"record": text, "modules": sha256 hex, "at": {digest: [repository, ...]}}, ...]
What records say of modules is in blobs of its own, also zstd-compressed: edits seldom change it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from wherry.api.cache_patience import ASKING
from wherry.api.cache_places import reference_of
from wherry.api.cache_traffic import CacheTraffic, Place
from wherry.api.content import stored_image
from wherry.api.delivery import described
from wherry.api.pushing import StoredBlob
from wherry.api.recorded import NO_INPUTS, BuildRecord, Output
from wherry.api.registries import Registries
from wherry.api.request import BuildRequest
from wherry.api.travelling_key import travelling_key
from wherry.api.travelling_records import TravelledRecord, holds, travel
from wherry.api.travelling_text import joined, parted
from wherry.errors import NetworkError, WherryError
from wherry.gocache.importing import Holding
from wherry.gocache.pack_set import RECORD_TYPE, PackSet, RecordBlob
from wherry.gocache.places import BytesBlob
from wherry.gocache.spec import CacheSpec
from wherry.gocache.table import TABLE_LIMIT, BadPack
from wherry.oci.digest import Digest, parse_digest, sha256
from wherry.oci.image import Descriptor
from wherry.oci.reference import parse_reference
from wherry.registry.model import BlobSource
from wherry.store.store import Store

# Branches come and go: so many records are kept of one request.
_KEPT = 4
# Of one layer, of which one is enough.
_REPOSITORIES = 8
# Small, and written once for each build.
_LEVEL = 15


class Kept(NamedTuple):
    """One record in a blob, and repositories (`registry/name`) that have layers of its image."""

    data: bytes
    at: Mapping[str, tuple[str, ...]]


class Written(NamedTuple):
    """What there is to write of one build: records by key, and the blobs for them."""

    records: Mapping[str, RecordBlob]
    blobs: tuple[BlobSource, ...]


class Encoded(NamedTuple):
    """Records as blobs: the records themselves, and what they say of modules."""

    records: bytes
    modules: tuple[bytes, ...]


def encode_kept(several: Iterable[Kept]) -> Encoded:
    """The blobs of these records."""
    modules: dict[str, bytes] = {}
    value = []
    for one in several:
        rest, its = parted(one.data)
        name = sha256(its).hex
        modules[name] = its
        at = {digest: list(names) for digest, names in sorted(one.at.items())}
        value.append({"record": rest.decode("ascii"), "modules": name, "at": at})
    text = json.dumps(value, separators=(",", ":")).encode("ascii")
    return Encoded(_packed(text), tuple(_packed(modules[name]) for name in sorted(modules)))


def decode_kept(encoded: Encoded) -> tuple[Kept, ...]:
    """The records of blobs; raises `BadPack` for what is none."""
    try:
        modules = {sha256(text).hex: text for text in map(_unpacked, encoded.modules)}
        value = json.loads(_unpacked(encoded.records))
        return tuple(_kept(one, modules) for one in value[:_KEPT])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadPack("a record of a cache is malformed", why=str(error)[:200]) from error


def _kept(value: Any, modules: Mapping[str, bytes]) -> Kept:  # noqa: ANN401 - a stranger's JSON
    at = {str(digest): tuple(map(str, names)) for digest, names in value["at"].items()}
    return Kept(joined(value["record"].encode("ascii"), modules[value["modules"]]), at)


def _packed(text: bytes) -> bytes:
    import zstandard  # noqa: PLC0415 - a compiled library

    return bytes(zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(text))


def _unpacked(data: bytes) -> bytes:
    """What was packed; raises `ValueError`."""
    import zstandard  # noqa: PLC0415 - a compiled library

    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data) as reader:
            return bytes(reader.read(TABLE_LIMIT))
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def find_answer(
    traffic: CacheTraffic, request: BuildRequest, store: Store
) -> tuple[BuildRecord | None, str]:
    """What a travelling record answers, or why none does (empty where there is none)."""
    key = travelling_key(request)
    reason = ""
    for place in traffic.places:
        with traffic.passing_over(place.spec):
            with place.patience.within(ASKING):
                several = _of_place(place, key)
            for kept in several:
                found = _answered(kept, place, request, store)
                if isinstance(found, BuildRecord):
                    return found, ""
                reason = reason or found
    return None, reason


def has_result(current: PackSet | None, request: BuildRequest, record: BuildRecord) -> bool:
    """Whether a place has the record of this result already."""
    known = current.records.get(travelling_key(request)) if current is not None else None
    wanted = {parse_digest(output.manifest) for output in record.outputs}
    return known is not None and wanted == set(known.results)


def _of_place(place: Place, key: str) -> tuple[Kept, ...]:
    known = place.current.records.get(key) if place.current is not None else None
    return _read(known, place.holding) if known is not None else ()


def _read(known: RecordBlob, holding: Holding) -> tuple[Kept, ...]:
    blobs = (known.blob, *known.modules)[: 1 + _KEPT]
    records, *modules = (holding.small(blob) for blob in blobs)
    return decode_kept(Encoded(records, tuple(modules)))


def _answered(kept: Kept, place: Place, request: BuildRequest, store: Store) -> BuildRecord | str:
    # Which may have many files to read: the place has no part in that.
    found = holds(kept.data, request, place.patience.token)
    if isinstance(found, str):
        return found
    known = _asked_anyway(request, found.outputs, place.spec, place.registries)
    kept = kept._replace(at={digest: _of_these(known, names) for digest, names in kept.at.items()})
    moved = _moved_base(found, place.registries)
    if moved:
        return moved
    with place.patience.within(ASKING):
        return _kept_here(found, kept, place, store, place.registries)


def _asked_anyway(
    request: BuildRequest, outputs: Iterable[Output], spec: CacheSpec, registries: Registries
) -> frozenset[str]:
    """The registries that this build has to do with.

    A record names no others: a stranger's would send wherry anywhere, the user's own would tell
    everybody where else the layers are.
    """
    found = {registries.reference(name).registry for name in request.tags}
    for output in outputs:
        names = (*output.tags, output.default_tag)
        found |= {registries.reference(name).registry for name in names}
        found |= {parse_reference(base.name).registry for base in output.bases}
    if not spec.is_directory:
        found.add(reference_of(spec, registries).registry)
    return frozenset(found)


def _of_these(known: frozenset[str], names: Iterable[str]) -> tuple[str, ...]:
    """Those repositories that are in one of the registries, not too many."""
    return tuple(name for name in names if name.partition("/")[0] in known)[:_REPOSITORIES]


def _moved_base(found: TravelledRecord, registries: Registries) -> str:
    """What is wrong with a record's bases; empty where their names mean the same as then."""
    for name, digest in found.bases.items():
        reference = parse_reference(name)
        try:
            now = registries.of(reference).resolve(reference.tag)
        except NetworkError:
            # The cache is not to blame; the build asks once more, and tells what is wrong.
            return f"the base {reference.familiar} cannot be looked up"
        if now is None or str(now.digest) != digest:
            return f"the base {reference.familiar} is another one now"
    return ""


def _kept_here(
    found: TravelledRecord, kept: Kept, place: Place, store: Store, registries: Registries
) -> BuildRecord | str:
    """The record with all blobs that it names in the store, or known to be somewhere."""
    documents = {sha256(data): data for data in found.documents.values()}
    layers = {
        layer.digest: layer
        for image in found.images
        for layer in image.manifest.layers
        if layer.digest not in documents
    }
    for layer in layers.values():
        names = kept.at.get(str(layer.digest), ())
        if not _can_be_had(layer, names, place, store, registries):
            return f"the layer {layer.digest.short} of its image is nowhere any more"
    for digest, data in documents.items():
        if not store.blobs.has(digest, len(data)):
            store.blobs.put(data)
    outputs = tuple(_lazy(output, documents.keys()) for output in found.outputs)
    return BuildRecord(NO_INPUTS, outputs, (), (), (), found.plural)


def _lazy(output: Output, documents: Iterable[object]) -> Output:
    """The output with its layers as those that may be elsewhere."""
    here = {str(digest) for digest in documents}
    every = dict((*output.blobs, *output.lazy))
    return output._replace(
        blobs=tuple((digest, size) for digest, size in every.items() if digest in here),
        lazy=tuple((digest, size) for digest, size in every.items() if digest not in here),
    )


def _can_be_had(
    layer: Descriptor,
    names: tuple[str, ...],
    place: Place,
    store: Store,
    registries: Registries,
) -> bool:
    if store.blobs.has(layer.digest, layer.size):
        return True
    for name in names:
        try:
            if registries.named(name).without_mirrors().blob_exists(layer.digest):
                store.sources.add(layer.digest, name)
                return True
        except WherryError:
            # Somebody else's registry, or one that is not there any more.
            continue
    if not place.holding.place.has(layer):
        return False
    if place.spec.is_directory:
        with place.holding.place.open(layer) as stream, store.blobs.writer() as writer:
            while data := stream.read(1 << 20):
                writer.write(data)
            writer.commit(layer.digest, layer.size)
        return True
    reference = reference_of(place.spec, registries)
    store.sources.add(layer.digest, f"{reference.registry}/{reference.repository}")
    return True


class Sender(NamedTuple):
    """What writing a record to the place `spec` needs to know of its build.

    `trees` are module caches of wherry's own that it used. With `is_pushed` its layers need not
    come along.
    """

    request: BuildRequest
    spec: CacheSpec
    store: Store
    registries: Registries
    trees: tuple[str, ...]
    is_pushed: bool


def written_record(record: BuildRecord, sender: Sender, known: tuple[Kept, ...]) -> Written | str:
    """What to write of a build's record, or why it stays here.

    `known` are the records that the place has of this request.
    """
    store = sender.store
    data = travel(
        record,
        sender.request,
        lambda digest: store.blobs.read(parse_digest(digest)),
        proven=sender.trees,
    )
    if isinstance(data, str):
        return data
    layers = _layers(record, store)
    lazy = [parse_digest(digest) for output in record.outputs for digest, _ in output.lazy]
    registries = _asked_anyway(sender.request, record.outputs, sender.spec, sender.registries)
    at = {
        str(digest): _of_these(registries, store.sources.of(digest)) for digest in (*layers, *lazy)
    }
    kept = (Kept(data, {digest: names for digest, names in at.items() if names}),
            *(one for one in known if one.data != data))[:_KEPT]  # fmt: skip
    encoded = encode_kept(kept)
    blob, *modules = (
        BytesBlob(Descriptor(RECORD_TYPE, sha256(data), len(data)), data)
        for data in (encoded.records, *encoded.modules)
    )
    sent = () if sender.is_pushed else tuple(layers.values())
    results = tuple(sorted({parse_digest(output.manifest) for output in record.outputs}))
    entry = RecordBlob(
        blob.descriptor, int(time.time()), sent, results, tuple(one.descriptor for one in modules)
    )
    stored = (StoredBlob(layer, store, sender.registries) for layer in sent)
    return Written({travelling_key(sender.request): entry}, (blob, *modules, *stored))


def known_records(current: PackSet | None, holding: Holding, key: str) -> tuple[Kept, ...]:
    """The records that a place has under `key`; none where they cannot be read."""
    known = current.records.get(key) if current is not None else None
    if known is None:
        return ()
    try:
        return _read(known, holding)
    except NetworkError:
        return ()


def _layers(record: BuildRecord, store: Store) -> dict[Digest, Descriptor]:
    """The layers that this build made."""
    made = {digest for output in record.outputs for digest, _ in output.blobs}
    found: dict[Digest, Descriptor] = {}
    for output in record.outputs:
        for manifest in stored_image(store, described(output)).manifests:
            found |= {layer.digest: layer for layer in manifest.layers
                      if str(layer.digest) in made}  # fmt: skip
    return found
