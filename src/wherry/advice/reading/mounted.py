# SPDX-License-Identifier: Apache-2.0
"""Files that a compose file mounts into a container: they need not be in its image."""

from __future__ import annotations

import os
import posixpath
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from wherry.advice.context import Context

_COMPOSE: Final = re.compile(r"(?:docker-)?compose(?:[-._][\w.-]+)?\.ya?ml|[\w.-]+\.compose\.ya?ml")
_MOST: Final = 1 << 20  # bytes of one file


def is_mounted(context: Context | None, path: str) -> bool:
    """Whether a compose file at the top of the build context mounts the path, or what it is in."""
    if context is None:
        return False
    places = [path]
    while (place := posixpath.dirname(places[-1])) != "/":
        places.append(place)
    words = "|".join(map(re.escape, places))
    # `./init.sh:/init.sh:ro`, or `target: /init.sh`.
    mount = re.compile(rf"(?::|\btarget:\s*[\"']?)(?:{words})/?(?=[:\s\"',}}]|\Z)")
    return any(mount.search(text) for text in _compose_files(context))


def _compose_files(context: Context) -> list[str]:
    try:
        names = sorted(filter(_COMPOSE.fullmatch, os.listdir(context.directory)))
    except OSError:
        return []
    found = []
    for name in names:
        try:
            with open(os.path.join(context.directory, name), "rb") as file:
                found.append(file.read(_MOST).decode("utf-8", "replace"))
        except OSError:
            continue
    return found
