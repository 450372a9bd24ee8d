# SPDX-License-Identifier: Apache-2.0
"""One JSON text for one value: sorted keys, no spaces, UTF-8, no floating numbers.

Manifests, configs and cache keys are digests of these bytes, so that equal values are equal blobs.
"""

from __future__ import annotations

import json

Json = None | bool | int | str | list["Json"] | tuple["Json", ...] | dict[str, "Json"]


def canonical_json(value: Json) -> bytes:
    """Encode `value`; raises `TypeError` for floats, sets and other types JSON does not hold."""
    _refuse_floats(value)
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode("utf-8", "surrogateescape")


def _refuse_floats(value: Json) -> None:
    if isinstance(value, float):
        raise TypeError(f"canonical JSON holds no floats: {value!r}")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)
