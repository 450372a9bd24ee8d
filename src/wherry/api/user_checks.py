# SPDX-License-Identifier: Apache-2.0
"""Whether the user that an image names is there: else no runtime starts the program.

Only composed bases are looked into: the layers of an image would have to be fetched for that, and
its own `useradd` is nobody's mistake.
"""

from __future__ import annotations

from collections.abc import Callable

from wherry.api.base_files import BaseFiles
from wherry.api.ground import Ground
from wherry.api.image_files import ImageFiles
from wherry.errors import UsageError
from wherry.fstree.named_owners import owner_ids
from wherry.fstree.tree import File
from wherry.graph.ops import ComposedBase


def check_user(
    user: str, ground: Ground, base_of: Callable[[Ground], BaseFiles], files: ImageFiles
) -> None:
    """Raise `UsageError` for a name that neither the base nor the image's own files know."""
    if not user or not isinstance(ground.base, ComposedBase):
        return
    own = {taken.entry.path for taken in files.chosen.taken}

    def read(path: str) -> bytes | None:
        if path in own:
            raise _OwnFile
        base = base_of(ground)
        found = base.files.entry(path)
        return base.read(found) if isinstance(found, File) else None

    try:
        owner_ids(user, read)
    except _OwnFile:
        return
    except UsageError as error:
        raise UsageError(f"user: {error.what}", why=error.why, hint=error.hint) from error


class _OwnFile(Exception):
    """The image brings its own passwd or group file: whoever writes that knows the names."""
