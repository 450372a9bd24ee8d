# SPDX-License-Identifier: Apache-2.0
"""Reading files of a build context: only those that are files, and no more than is asked for."""

from __future__ import annotations

import os
import stat


def read_file(path: str, most: int) -> bytes | None:
    """The first `most` bytes; None for what is no file, or cannot be read."""
    try:
        # Opening a pipe must not wait for somebody who writes into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            return file.read(most)
    except OSError:
        return None
