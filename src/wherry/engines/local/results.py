# SPDX-License-Identifier: Apache-2.0
"""What the local engine's operations give: a layer in the store, and facts about its tree.

The JSON form is what cache records hold.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

from wherry.errors import UsageError
from wherry.golang.record import Inputs
from wherry.oci.canonical import canonical_json
from wherry.oci.digest import Digest, parse_digest
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
    records. `history` are the lines that an image brings with its layers.
    """

    layers: tuple[Layer, ...]
    unpacked: int | None
    tree: Digest | None = None
    binaries: tuple[Binary, ...] = ()
    inputs: Inputs | None = None
    warnings: tuple[str, ...] = ()
    history: tuple[HistoryEntry, ...] = ()


def encode_layer(layer: Layer, tree: Digest, unpacked: int) -> bytes:
    """A layer as a cache record."""
    return canonical_json(
        {
            "layer": layer.descriptor.as_json(),
            "diff_id": str(layer.diff_id),
            "tree": str(tree),
            "unpacked": unpacked,
        }
    )


def decode_layer(data: bytes) -> Built | None:
    """The result a cache record holds, or None where the record is of another form."""
    try:
        value = json.loads(data)
        return Built(
            (Layer(parse_descriptor(value["layer"]), parse_digest(value["diff_id"])),),
            int(value["unpacked"]),
            parse_digest(value["tree"]),
        )
    except (KeyError, TypeError, ValueError, UsageError):
        return None
