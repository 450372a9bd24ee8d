# SPDX-License-Identifier: Apache-2.0
"""Files that a compose file mounts into a container: they need not be in its image."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from wherry.advice.reading.file_contents import read_file
from wherry.advice.reading.paths import is_within

if TYPE_CHECKING:
    from wherry.advice.context import Context

_COMPOSE: Final = re.compile(r"(?:docker-)?compose(?:[-._][\w.-]+)?\.ya?ml|[\w.-]+\.compose\.ya?ml")
# `./init.sh:/init.sh:ro`, or `target: /init.sh`.
_TARGET: Final = re.compile(r"(?::|\btarget:\s*[\"']?)(/[^:\s\"',}]*)")
_MOST: Final = 1 << 20  # bytes of one file


def is_mounted_by_compose(context: Context | None, path: str) -> bool:
    """Whether a compose file at the top of the build context mounts the path, or what it is in."""
    if context is None:
        return False
    targets = (
        place.rstrip("/") for text in _compose_files(context) for place in _TARGET.findall(text)
    )
    return any(target and is_within(path, target) for target in targets)


def _compose_files(context: Context) -> list[str]:
    try:
        names = sorted(filter(_COMPOSE.fullmatch, os.listdir(context.directory)))
    except OSError:
        return []
    texts = (read_file(os.path.join(context.directory, name), _MOST) for name in names)
    return [text.decode("utf-8", "replace") for text in texts if text is not None]
