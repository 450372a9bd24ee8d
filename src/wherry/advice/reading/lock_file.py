# SPDX-License-Identifier: Apache-2.0
"""The `wherry.lock` of a build context: the digests that builds take for the names of bases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import WherryError

if TYPE_CHECKING:
    from wherry.advice.subject import Subject
    from wherry.oci.reference import Reference
    from wherry.settings.lock import LockedBase, LockFile


def lock_of(subject: Subject) -> LockFile | None:
    """The lock file of a Dockerfile's context; None where there is none that can be read."""
    context = subject.context
    if context is None or not context.has("wherry.lock"):
        return None
    from wherry.settings.lock import load_lock  # noqa: PLC0415 - few have one

    try:
        return load_lock(context.directory)
    except WherryError:
        return None


def locked(lock: LockFile | None, reference: Reference) -> LockedBase | None:
    """What is locked for a name, whatever digest is written behind it."""
    return None if lock is None else lock.base(reference._replace(digest=None))
