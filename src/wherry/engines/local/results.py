# SPDX-License-Identifier: Apache-2.0
"""What the local engine's operations give: layers in the store, or files to copy from.

The JSON form is what cache records hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from wherry.errors import UsageError, WherryError
from wherry.fstree.files import Files
from wherry.oci.canonical import Json, canonical_json
from wherry.oci.digest import Digest, parse_digest, sha256
from wherry.oci.image import HistoryEntry, Layer, parse_descriptor

if TYPE_CHECKING:
    from wherry.golang.binary import BinaryFacts
    from wherry.golang.record import Inputs


NOTHING_SEEN: Final = str(sha256(b""))
"""`Outside.seen` of a step that could see no module."""


class Binary(NamedTuple):
    """A binary of the image: file name, path in the image, and what was found in it."""

    name: str
    path: str
    facts: BinaryFacts

    @property
    def size(self) -> int:
        """In bytes."""
        return self.facts.size

    @property
    def go_version(self) -> str:
        """The Go that linked it, as `go1.26.8`; empty where another linker did."""
        return self.facts.build_info.go_version if self.facts.build_info else ""

    @property
    def dynamic(self) -> bool:
        """Whether it needs a C library and a loader from its base."""
        return not self.facts.is_static


class Outside(NamedTuple):
    """A Go cache that a RUN used and its change does not hold.

    `kind` is build or modules, `path` where it is in the root, `owner` its user (empty for root),
    `pool` the name of the cache mount in which it is kept, empty where that is on another machine.
    `seen` is the digest of a blob with a line for each module that the step could see (as in
    go.sum), or each action of the build cache that it used.
    """

    kind: str
    path: str
    owner: str
    pool: str = ""
    seen: str = ""

    @property
    def is_needed(self) -> bool:
        """Whether a later step may fail without it; a build cache only saves time."""
        return self.kind == "modules" and self.seen != NOTHING_SEEN


class Change(NamedTuple):
    """What one run of a RUN changed: a snapshot, which becomes a layer where one is needed.

    `id` is new for each run: what two runs of one command do need not be equal. `place` is the
    place of its snapshot's key, `size` in bytes, with `empty` it changed nothing at all. `outside`
    are Go caches that a later step of the root has to find.
    """

    id: Digest
    place: str
    size: int
    empty: bool = False
    outside: tuple[Outside, ...] = ()


Slab = Layer | Change
"""One storey of a root."""


@dataclass(frozen=True, slots=True)
class Built:
    """Layers, lowest first, the sum of their trees' file sizes, the tree's digest where known.

    `unpacked` is None where the layers' bytes were not looked at. `inputs` is the closure of a Go
    build (None where it is unclear), `warnings` are lines for the user; neither is part of cache
    records. A build of several programs has one layer for each of `binaries`; `failures` say, by
    name, why there is none of the others. `history` are the lines that an image brings with its
    layers. `below` are the slabs that these stand on: a step of a Dockerfile makes one layer, or
    one `change`, on top of a root.
    """

    layers: tuple[Layer, ...]
    unpacked: int | None
    tree: Digest | None = None
    binaries: tuple[Binary, ...] = ()
    inputs: Inputs | None = None
    warnings: tuple[str, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    below: tuple[Slab, ...] = ()
    change: Change | None = None
    failures: tuple[tuple[str, WherryError], ...] = ()

    def program(self, name: str) -> Built:
        """One program of several, with its own layer; raises why there is none."""
        for failed, error in self.failures:
            if failed == name:
                raise error
        (number,) = (at for at, item in enumerate(self.binaries) if item.name == name)
        binary, layer = self.binaries[number], self.layers[number]
        return replace(self, layers=(layer,), unpacked=binary.size, binaries=(binary,), failures=())

    @property
    def stack(self) -> tuple[Slab, ...]:
        """All slabs of the root, lowest first."""
        own = (*self.below, *self.layers)
        return own if self.change is None else (*own, self.change)

    @property
    def outside(self) -> tuple[Outside, ...]:
        """The Go caches that steps of the root have used and that it does not hold."""
        changes = (slab for slab in self.stack if isinstance(slab, Change))
        return tuple(cache for change in changes for cache in change.outside)

    @property
    def root_digest(self) -> Digest:
        """The root's identity: see `root_digest`."""
        return root_digest(self.stack)


@dataclass(frozen=True, slots=True)
class Held:
    """Files to copy from that are no root: a build context, a download.

    `signature` is a text that is the same only if what lies at or below some paths is, without a
    look at contents; None where only they can tell. It tells how they are now; `seen` the same of
    what was looked at first, which is what `files` gives (None: files never change). `hidden_by`
    gives the ignore rule that hides a path which is there, and the file that holds the rule, or why
    wherry hides it and an empty text: for messages.
    """

    files: Files
    signature: Callable[[tuple[str, ...]], str | None]
    hidden_by: Callable[[str], tuple[str, str] | None] = lambda _path: None
    seen: Callable[[tuple[str, ...]], str | None] | None = None


Result = Built | Held


def root_digest(slabs: tuple[Slab, ...]) -> Digest:
    """The identity of the root that these make, lowest first: of diff IDs and runs.

    A run that changed nothing leaves the root what it was.
    """
    hasher = hashlib.sha256(b"[")
    for state in _states(slabs):
        hasher = state
    return _closed(hasher)


def prefix_digests(slabs: tuple[Slab, ...]) -> Iterator[Digest]:
    """`root_digest` of the first slab, of the first two, and so on; in time for one of them."""
    for state in _states(slabs):
        yield _closed(state)


def snapshot_key(place: str, root: Digest) -> str:
    """The key of the snapshot of a root's topmost slab, at a place of the namespace worker."""
    return f"{place}/{root.hex}"


def change_key(slabs: tuple[Slab, ...]) -> str:
    """The key of the snapshot of the topmost slab, which is a change."""
    top = slabs[-1]
    assert isinstance(top, Change)  # noqa: S101 - the callers' own
    return snapshot_key(top.place, root_digest(slabs))


def _states(slabs: tuple[Slab, ...]) -> Iterator[hashlib._Hash]:
    """The one hasher of the names of `slabs` as a JSON list, after each of them."""
    hasher, comma = hashlib.sha256(b"["), b""
    for slab in slabs:
        name = _identity(slab)
        if name:
            hasher.update(comma + canonical_json(name))
            comma = b","
        yield hasher


def _closed(hasher: hashlib._Hash) -> Digest:
    whole = hasher.copy()
    whole.update(b"]")
    return Digest("sha256", whole.hexdigest())


def _identity(slab: Slab) -> str:
    if isinstance(slab, Layer):
        return str(slab.diff_id)
    return "" if slab.empty else f"run {slab.id.hex}"


def encode_layer(layer: Layer, tree: Digest, unpacked: int, below: tuple[Slab, ...] = ()) -> bytes:
    """A layer, and those it stands on, as a cache record."""
    value: dict[str, Json] = {
        **_slab_json(layer),
        "tree": str(tree),
        "unpacked": unpacked,
    }
    if below:
        value["below"] = [_slab_json(item) for item in below]
    return _encoded(value)


def encode_change(change: Change, below: tuple[Slab, ...]) -> bytes:
    """A change, and what it stands on, as a cache record."""
    return _encoded({**_slab_json(change), "below": [_slab_json(item) for item in below]})


def _encoded(value: dict[str, Json]) -> bytes:
    # Not canonical: nothing is known by a record's digest, and stacks may be long.
    return json.dumps(value, separators=(",", ":")).encode()


def _slab_json(slab: Slab) -> dict[str, Json]:
    if isinstance(slab, Layer):
        return {"layer": slab.descriptor.as_json(), "diff_id": str(slab.diff_id)}
    value: dict[str, Json] = {
        "change": str(slab.id),
        "place": slab.place,
        "size": slab.size,
        "empty": slab.empty,
    }
    if slab.outside:
        value["outside"] = [list(cache) for cache in slab.outside]
    return value


def _parse_slab(value: dict[str, Any]) -> Slab:
    if "change" in value:
        size, empty = int(value["size"]), bool(value["empty"])
        outside = tuple(Outside(*map(str, cache)) for cache in value.get("outside", ()))
        return Change(parse_digest(value["change"]), str(value["place"]), size, empty, outside)
    return Layer(parse_descriptor(value["layer"]), parse_digest(value["diff_id"]))


def decode_layer(data: bytes) -> Built | None:
    """The result a cache record holds, or None where the record is of another form."""
    try:
        value = json.loads(data)
        own = _parse_slab(value)
        below = tuple(_parse_slab(item) for item in value.get("below", ()))
        if isinstance(own, Change):
            return Built((), own.size, below=below, change=own)
        tree = parse_digest(value["tree"])
        return Built((own,), int(value["unpacked"]), tree, below=below)
    except (KeyError, TypeError, ValueError, UsageError):
        return None
