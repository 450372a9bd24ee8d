# SPDX-License-Identifier: Apache-2.0
"""The file that Go links to, which may be trusted only if Go itself finished with it.

Go takes an output with the right build ID for up to date and reads no further than that ID, which
stands at the file's beginning. Where its temporary directory is on another file system than the
store, Go copies the program there; a kill in the middle leaves a short file that it would take for
whole ever after. So a mark lies beside the output while Go runs, and an output with a mark from
before is removed: Go links it again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from wherry.errors import MachineError, WherryError


@contextmanager
def guarded_output(output: str) -> Iterator[None]:
    """Run the block, in which Go writes `output`; a kill of Go or wherry is noticed next time.

    Raises `MachineError` where the mark cannot be written.
    """
    mark = f"{output}.unfinished"
    try:
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        with suppress(FileNotFoundError):
            os.unlink(output)
    except OSError as error:
        hint = "make room there, or name another store with --store"
        raise MachineError(
            f"cannot write {mark}", why=error.strerror or str(error), hint=hint
        ) from error
    try:
        yield
    except MachineError:
        # Killed for want of memory, perhaps, or out of disk: what it left is not to be trusted.
        raise
    except WherryError:
        # Go ended by itself, and leaves the old file, the new one or none.
        _unmark(mark)
        raise
    _unmark(mark)


def _unmark(mark: str) -> None:
    with suppress(OSError):
        os.unlink(mark)
