# SPDX-License-Identifier: Apache-2.0
"""Where things lie by default (XDG Base Directory Specification)."""

from __future__ import annotations

import os
from collections.abc import Mapping

LAYOUT = "v1"


def default_store(env: Mapping[str, str]) -> str:
    """The store's directory: WHERRY_STORE, else `wherry/v1` in the user's cache directory."""
    named = env.get("WHERRY_STORE", "")
    if named:
        return os.path.abspath(named)
    cache = env.get("XDG_CACHE_HOME", "")
    # The specification says to ignore a relative path.
    if not os.path.isabs(cache):
        cache = os.path.join(env.get("HOME") or os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "wherry", LAYOUT)
