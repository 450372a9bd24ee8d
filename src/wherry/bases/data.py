# SPDX-License-Identifier: Apache-2.0
"""The files that tell which data a composed base is made from, without reading the data."""

from __future__ import annotations

import importlib.util
import os

_PACKAGES = ("certifi", "tzdata")


def data_files() -> tuple[str, ...]:
    """Absolute paths whose signatures change when the data packages do."""
    found: list[str] = []
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin:
            found.append(spec.origin)
            found.append(os.path.join(os.path.dirname(spec.origin), "cacert.pem"))
    return tuple(found)
