# SPDX-License-Identifier: Apache-2.0
"""Directories that an export makes, and takes away again where it fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def undone_on_error(undo: list[str]) -> Iterator[None]:
    """Remove the paths in `undo`, newest first, if the block fails.

    A directory that others have put something into meanwhile stays.
    """
    try:
        yield
    except BaseException:
        for path in reversed(undo):
            with suppress(OSError):
                if os.path.isdir(path):
                    os.rmdir(path)
                else:
                    os.unlink(path)
        raise


def make_directory(path: str, undo: list[str]) -> None:
    """Make `path` and what is missing above it; each directory made is added to `undo`."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        parent = os.path.dirname(path)
        if parent == path:
            break
        path = parent
    for item in reversed(missing):
        try:
            os.mkdir(item)
        except FileExistsError:
            # Another export has just made it; a file there is an error.
            if not os.path.isdir(item):
                raise
        else:
            undo.append(item)
