# SPDX-License-Identifier: Apache-2.0
"""What an image is called where nobody named it, and how many processors may make it."""

from __future__ import annotations

import os
import re


def repository_name(name: str) -> str:
    """A program's or directory's name as a repository's: lower case, one separator at a time."""
    cleaned = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return cleaned or "image"


def cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
