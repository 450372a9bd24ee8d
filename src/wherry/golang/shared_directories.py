# SPDX-License-Identifier: Apache-2.0
"""Directories of a module cache that modules share: as Go makes them, and of the cache's owner."""

from __future__ import annotations

import os
from contextlib import suppress


def make_above(top: str, name: str) -> None:
    """Make those of the directories above a file of the cache at `top` that are not there.

    Raises `OSError`.
    """
    owner = os.lstat(top)
    here = top
    for part in name.split("/")[:-1]:
        here = f"{here}/{part}"
        with suppress(FileExistsError):
            os.mkdir(here)
            os.chmod(here, 0o755)  # noqa: S103 - whatever the umask is
            with suppress(OSError):
                # Where there is but one id, everything is its own.
                os.chown(here, owner.st_uid, owner.st_gid)
