# SPDX-License-Identifier: Apache-2.0
"""Which paths a RUN writes to a mount, so that they are in no layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.advice.reading.paths import meets
from wherry.frontends.dockerfile.instructions import Run

if TYPE_CHECKING:
    from wherry.advice.views import Line


def is_on_mount(line: Line, path: str) -> bool:
    """Whether a mount is at a path, above or below it.

    Also true where mounts hold variables: what they mean is not looked into.
    """
    typed = line.instruction
    if not isinstance(typed, Run):
        return False
    if typed.mount_texts:
        return True
    return any(
        mount.target and meets(line.state.path(mount.target), path) for mount in typed.mounts
    )
