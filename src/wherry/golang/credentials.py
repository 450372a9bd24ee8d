# SPDX-License-Identifier: Apache-2.0
"""Keep credentials out of what wherry shows: users and passwords in URLs."""

from __future__ import annotations

import re

# Greedy up to the last @ before the path: a password may itself hold one.
_USER_INFO = re.compile(r"(?<=://)[^/?#\s\"'<>]+@")


def mask_credentials(text: str) -> str:
    """`text` with `user:password@` and `token@` in URLs made unreadable; ssh's `git@` stays."""
    if "@" not in text:
        return text
    return _USER_INFO.sub(lambda found: found[0] if found[0] == "git@" else "xxxxx@", text)
