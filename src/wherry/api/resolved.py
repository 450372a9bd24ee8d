# SPDX-License-Identifier: Apache-2.0
"""What a base's name means on this machine: a tag of the store, or what a registry said last.

A name is asked of its registry once and then remembered, as Docker does, until `--pull`. The
remembered answer is an input of a build record; this module is on the no-change path.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from wherry.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry.oci.image import Descriptor
    from wherry.oci.reference import Reference
    from wherry.store.store import Store

KIND = "resolved"


class Meaning(NamedTuple):
    """What a name means: the digest of the store's image with that tag, and the digest that a
    registry gave; empty where there is none."""

    tagged: str
    resolved: str


def meaning_of(store: Store, reference: Reference) -> Meaning:
    """What the name means now."""
    value = store.records.get(KIND, reference.full)
    resolved = str(json.loads(value)["digest"]) if value else ""
    return Meaning(store.images.digest_of(reference), resolved)


def remember(store: Store, reference: Reference, root: Descriptor, blobs: Iterable[Digest]) -> None:
    """Note what a registry said, and keep the manifests and configs that were fetched for it.

    What was kept for another platform of the same image stays.
    """
    from wherry.oci.digest import parse_digest  # noqa: PLC0415 - not for an unchanged build

    kept = {str(digest) for digest in blobs}
    earlier = store.records.get(KIND, reference.full)
    if earlier:
        value = json.loads(earlier)
        if value["digest"] == str(root.digest):
            if kept <= set(value["blobs"]):
                return
            kept |= set(value["blobs"])
    known = [digest for digest in sorted(kept) if store.blobs.has(parse_digest(digest))]
    text = json.dumps({"digest": str(root.digest), "blobs": known})
    store.records.put(KIND, reference.full, text.encode(), map(parse_digest, known))
