# SPDX-License-Identifier: Apache-2.0
"""The one canonical encoder that turns ops into cache keys.

Every dataclass field goes in, by name and type, unless declared outside the key; the preimage
begins with the op's kind and version. A changed meaning of an op bumps the version in its `KIND`:
no special cases for keys of the past.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from wherry.graph.ops import Op
from wherry.oci.canonical import Json, canonical_json
from wherry.oci.digest import Digest, sha256


class CacheKey(NamedTuple):
    """A digest stable between builds, and the bytes it was made from (for explanations)."""

    digest: Digest
    preimage: bytes


def definition_key(op: Op, inputs: Iterable[Digest]) -> CacheKey:
    """Key of the op and its inputs' keys: looked up before anything runs."""
    return _key("definition", op, [str(digest) for digest in inputs])


def content_key(op: Op, contents: Iterable[Digest]) -> CacheKey:
    """Key of the op and the digests of the contents it reads: gives early cutoff."""
    return _key("content", op, [str(digest) for digest in contents])


def _key(sort: str, op: Op, inputs: list[str]) -> CacheKey:
    preimage = canonical_json([sort, op.KIND, encode(op), list[Json](inputs)])
    return CacheKey(sha256(preimage), preimage)


def encode(value: object) -> Json:
    """A value as canonical JSON; types are named where equal JSON could mean different things."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: encode(getattr(value, item.name))
            for item in dataclasses.fields(value)
            if "outside_key" not in item.metadata
        }
    if isinstance(value, Enum):
        return [type(value).__name__, encode(value.value)]
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    raise TypeError(f"no canonical form for {type(value).__name__}")
