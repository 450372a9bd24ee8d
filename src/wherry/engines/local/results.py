# SPDX-License-Identifier: Apache-2.0
"""What the local engine's operations give: layers in the store, or files to copy from.

The JSON form is what cache records hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from wherry.errors import UsageError
from wherry.fstree.files import Files
from wherry.golang.record import Inputs
from wherry.oci.canonical import Json, canonical_json
from wherry.oci.digest import Digest, parse_digest, sha256
from wherry.oci.image import HistoryEntry, Layer, parse_descriptor


class Binary(NamedTuple):
    """A binary of the image: file name, path in the image, size in bytes, Go version.

    `dynamic`: it needs a C library and a loader from its base.
    """

    name: str
    path: str
    size: int
    go_version: str
    dynamic: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """Layers, lowest first, the sum of their trees' file sizes, the tree's digest where known.

    `unpacked` is None where the layers' bytes were not looked at. `inputs` is the closure of a Go
    build (None where it is unclear), `warnings` are lines for the user; neither is part of cache
    records. `history` are the lines that an image brings with its layers. `below` are the layers
    that these stand on: a step of a Dockerfile makes one layer on top of a root.
    """

    layers: tuple[Layer, ...]
    unpacked: int | None
    tree: Digest | None = None
    binaries: tuple[Binary, ...] = ()
    inputs: Inputs | None = None
    warnings: tuple[str, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    below: tuple[Layer, ...] = ()

    @property
    def stack(self) -> tuple[Layer, ...]:
        """All layers of the root, lowest first."""
        return (*self.below, *self.layers)

    @property
    def root_digest(self) -> Digest:
        """The root's identity: the digest of its diff IDs, lowest first."""
        return root_digest(self.stack)


@dataclass(frozen=True, slots=True)
class Held:
    """Files to copy from that are no root: a build context, a download.

    `signature` is a text that is the same only if what lies at or below some paths is, without a
    look at contents; None where only they can tell. `hidden_by` gives the ignore rule that hides a
    path which is there, and the file that holds the rule: for messages.
    """

    files: Files
    signature: Callable[[tuple[str, ...]], str | None]
    hidden_by: Callable[[str], tuple[str, str] | None] = lambda _path: None


Result = Built | Held


def root_digest(layers: tuple[Layer, ...]) -> Digest:
    """The identity of the root that these layers make, lowest first."""
    return sha256(canonical_json([str(layer.diff_id) for layer in layers]))


def encode_layer(layer: Layer, tree: Digest, unpacked: int, below: tuple[Layer, ...] = ()) -> bytes:
    """A layer, and those it stands on, as a cache record."""
    value: dict[str, Json] = {
        **_layer_json(layer),
        "tree": str(tree),
        "unpacked": unpacked,
    }
    if below:
        value["below"] = [_layer_json(item) for item in below]
    return canonical_json(value)


def _layer_json(layer: Layer) -> dict[str, Json]:
    return {"layer": layer.descriptor.as_json(), "diff_id": str(layer.diff_id)}


def _parse_layer(value: dict[str, Any]) -> Layer:
    return Layer(parse_descriptor(value["layer"]), parse_digest(value["diff_id"]))


def decode_layer(data: bytes) -> Built | None:
    """The result a cache record holds, or None where the record is of another form."""
    try:
        value = json.loads(data)
        return Built(
            (_parse_layer(value),),
            int(value["unpacked"]),
            parse_digest(value["tree"]),
            below=tuple(_parse_layer(item) for item in value.get("below", ())),
        )
    except (KeyError, TypeError, ValueError, UsageError):
        return None
