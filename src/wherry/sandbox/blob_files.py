# SPDX-License-Identifier: Apache-2.0
"""Layers' blobs on their way to a worker, which gets them as open files."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from typing import IO, BinaryIO


def as_file(stream: BinaryIO) -> IO[bytes]:
    """The stream itself where the kernel knows it, else a file with the same bytes."""
    try:
        stream.fileno()
    except OSError:
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        shutil.copyfileobj(stream, copy)
        copy.seek(0)
        return copy
    return stream


def zstd_packages() -> str:
    """Where the zstd library is imported from: a worker sees Python's and wherry's own only."""
    found = importlib.util.find_spec("zstandard")
    if found is None or found.origin is None:
        return ""
    return os.path.dirname(os.path.dirname(found.origin))
