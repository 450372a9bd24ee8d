# SPDX-License-Identifier: Apache-2.0
"""Writing files of Go's caches: new ones, all of their bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a file is opened that must not be there, not even as a link."""


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`; raises `OSError`."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_new(path: str, chunks: Iterable[bytes], mode: int = 0o666) -> None:
    """Write a new file of these chunks; raises `OSError`, and what `chunks` raises."""
    descriptor = os.open(path, NEW, mode)
    try:
        for chunk in chunks:
            write_all(descriptor, chunk)
    finally:
        os.close(descriptor)
