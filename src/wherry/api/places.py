# SPDX-License-Identifier: Apache-2.0
"""Where things lie by default (XDG Base Directory Specification)."""

from __future__ import annotations

import os
from collections.abc import Mapping

from wherry.errors import MachineError

LAYOUT = "v1"


def default_store(env: Mapping[str, str]) -> str:
    """The store's directory: WHERRY_STORE, else `wherry/v1` in the user's cache directory.

    Raises `MachineError` where the environment and the user database know no such directory.
    """
    named = env.get("WHERRY_STORE", "")
    if named:
        return os.path.abspath(named)
    cache = env.get("XDG_CACHE_HOME", "")
    # The specification says to ignore a relative path.
    if not os.path.isabs(cache):
        cache = os.path.join(_home(env), ".cache")
    return os.path.join(cache, "wherry", LAYOUT)


def _home(env: Mapping[str, str]) -> str:
    home = env.get("HOME", "")
    if os.path.isabs(home):
        return home
    import pwd  # noqa: PLC0415 - HOME is nearly always set

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError as error:
        # Usual in containers that run under any user id.
        raise MachineError(
            "there is no place for the store",
            why=f"HOME names no directory, and user {os.getuid()} has no entry in /etc/passwd",
            hint="set HOME, or name a directory with --store or WHERRY_STORE",
        ) from error
