# SPDX-License-Identifier: Apache-2.0
"""A directory for the time of one call."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from wherry.errors import MachineError
from wherry.fstree.removal import remove_tree


@contextmanager
def temporary_directory() -> Iterator[str]:
    """A new directory in TMPDIR that nobody else may look into; raises `MachineError`.

    It may be filled with what strangers have packed: it is removed whatever modes that has, and no
    link is followed, which `tempfile` does not promise.
    """
    try:
        place = tempfile.mkdtemp(prefix="wherry-kaniko-")
    except OSError as error:
        raise MachineError(
            "there is no place for temporary files",
            why=error.strerror or str(error),
            hint="set TMPDIR to a directory that you may write to",
        ) from error
    try:
        yield place
    finally:
        with suppress(OSError):
            remove_tree(place)
