# SPDX-License-Identifier: Apache-2.0
"""Which paths a RUN writes to a mount, so that they are in no layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.frontends.dockerfile.instructions import Run

if TYPE_CHECKING:
    from wherry.advice.views import Line


def is_mounted(line: Line, path: str) -> bool:
    """Whether a mount is at a path, above or below it.

    Also true where mounts hold variables: what they mean is not looked into.
    """
    typed = line.instruction
    if not isinstance(typed, Run):
        return False
    if typed.mount_texts:
        return True
    for mount in typed.mounts:
        if not mount.target:
            continue
        target = line.state.path(mount.target)
        if _is_below(target, path) or _is_below(path, target):
            return True
    return False


def _is_below(path: str, above: str) -> bool:
    return path == above or path.startswith(above.rstrip("/") + "/")
