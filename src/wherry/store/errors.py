# SPDX-License-Identifier: Apache-2.0
"""What the disk refuses, told as a `MachineError` with the path, the reason and a remedy."""

from __future__ import annotations

import errno

from wherry.errors import MachineError

FULL_HINT = (
    "make room on that disk (`wherry cache prune --all` empties the store), "
    "or name another store with --store"
)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def machine_error(error: OSError, path: str) -> MachineError:
    """The error that tells the user of `error` at `path`; the caller raises it."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return MachineError(f"cannot write {path}", why=reason,
                            hint=FULL_HINT)  # fmt: skip
    what = "the rights there" if error.errno in _REFUSED else "the disk"
    return MachineError(f"cannot use {path}", why=reason,
                        hint=f"check {what}, or name another store with --store")  # fmt: skip
